//! What is done to [`Pixels`]: turned, scaled, cut, encoded.

use std::{borrow::Cow, io::Cursor};

use fast_image_resize::{FilterType, PixelType, ResizeAlg, ResizeOptions, Resizer, images};
use image::{
    DynamicImage, ExtendedColorType, ImageEncoder,
    codecs::png::{CompressionType, FilterType as PngFilter, PngEncoder},
    metadata::Orientation,
};

use crate::{
    context::{
        items::{Channels, Pixels},
        part::Media,
    },
    error::{Error, Result},
};

impl Pixels {
    /// Whether a pixel may be seen through.
    pub(super) fn has_alpha(&self) -> bool {
        matches!(self.channels(), Channels::GrayAlpha | Channels::Rgba)
    }

    /// These pixels with 8 bits a channel.
    pub(super) fn from_image(image: DynamicImage) -> Result<Self> {
        let (width, height) = (image.width(), image.height());
        let (channels, data) = match image {
            DynamicImage::ImageLuma8(image) => (Channels::Gray, image.into_raw()),
            DynamicImage::ImageLumaA8(image) => (Channels::GrayAlpha, image.into_raw()),
            DynamicImage::ImageRgb8(image) => (Channels::Rgb, image.into_raw()),
            DynamicImage::ImageRgba8(image) => (Channels::Rgba, image.into_raw()),
            DynamicImage::ImageLuma16(_) => (Channels::Gray, image.into_luma8().into_raw()),
            DynamicImage::ImageLumaA16(_) => (Channels::GrayAlpha, image.into_luma_alpha8().into_raw()),
            other if other.color().has_alpha() => (Channels::Rgba, other.into_rgba8().into_raw()),
            other => (Channels::Rgb, other.into_rgb8().into_raw()),
        };
        Self::new(width, height, channels, data)
    }

    fn into_image(self) -> Option<DynamicImage> {
        let (width, height, channels) = (self.width(), self.height(), self.channels());
        let data = self.into_data();
        match channels {
            Channels::Gray => image::GrayImage::from_raw(width, height, data).map(DynamicImage::from),
            Channels::GrayAlpha => image::GrayAlphaImage::from_raw(width, height, data).map(DynamicImage::from),
            Channels::Rgb => image::RgbImage::from_raw(width, height, data).map(DynamicImage::from),
            Channels::Rgba => image::RgbaImage::from_raw(width, height, data).map(DynamicImage::from),
        }
    }

    /// These pixels in red, green and blue, on white.
    pub(super) fn to_rgb(&self) -> Result<Cow<'_, Self>> {
        let opaque = self.on_white()?;
        if opaque.channels() == Channels::Rgb {
            return Ok(opaque);
        }
        let data = opaque.data().iter().flat_map(|gray| [*gray; 3]).collect();
        Ok(Cow::Owned(Self::new(self.width(), self.height(), Channels::Rgb, data)?))
    }

    /// These pixels as a camera's orientation says that they are to be seen.
    pub(super) fn oriented(self, orientation: Orientation) -> Result<Self> {
        if orientation == Orientation::NoTransforms {
            return Ok(self);
        }
        let mut image = self.into_image().ok_or_else(|| Error::internal("pixels of a wrong size"))?;
        image.apply_orientation(orientation);
        Self::from_image(image)
    }

    /// The size that fits into a box of these sides, never larger than it is.
    pub(super) fn size_within(&self, width: u32, height: u32) -> (u32, u32) {
        fit((self.width(), self.height()), (width, height))
    }

    /// These pixels scaled down into a box of these sides.
    pub(super) fn within(&self, width: u32, height: u32) -> Result<Cow<'_, Self>> {
        let (width, height) = self.size_within(width, height);
        if (width, height) == (self.width(), self.height()) {
            return Ok(Cow::Borrowed(self));
        }
        let kind = match self.channels() {
            Channels::Gray => PixelType::U8,
            Channels::GrayAlpha => PixelType::U8x2,
            Channels::Rgb => PixelType::U8x3,
            Channels::Rgba => PixelType::U8x4,
        };
        let failed = |error: &dyn std::fmt::Display| Error::internal(format!("pixels cannot be scaled: {error}"));
        let from =
            images::ImageRef::new(self.width(), self.height(), self.data(), kind).map_err(|error| failed(&error))?;
        let mut to = images::Image::new(width, height, kind);
        let options = ResizeOptions::new().resize_alg(ResizeAlg::Convolution(FilterType::Lanczos3));
        Resizer::new().resize(&from, &mut to, &options).map_err(|error| failed(&error))?;
        Ok(Cow::Owned(Self::new(width, height, self.channels(), to.into_vec())?))
    }

    /// A part of these pixels; what lies outside is left away.
    pub(super) fn cut(&self, left: u32, top: u32, width: u32, height: u32) -> Result<Self> {
        let width = width.min(self.width().saturating_sub(left));
        let height = height.min(self.height().saturating_sub(top));
        let channels = self.channels() as usize;
        let rows = self.data().chunks_exact(self.width() as usize * channels).skip(top as usize).take(height as usize);
        let (from, to) = (left as usize * channels, (left + width) as usize * channels);
        let data = rows.flat_map(|row| row.get(from..to).unwrap_or_default()).copied().collect();
        Self::new(width, height, self.channels(), data)
    }

    /// These pixels with others of as many channels put onto them at a place; what lies outside is left away.
    pub(super) fn with_pasted(self, other: &Self, left: u32, top: u32) -> Result<Self> {
        let (width, height, channels) = (self.width(), self.height(), self.channels());
        let (stride, row) = (width as usize * channels as usize, other.width() as usize * channels as usize);
        let mut data = self.into_data();
        let rows = data.chunks_exact_mut(stride).skip(top as usize);
        for (row, from) in rows.zip(other.data().chunks_exact(row)) {
            for (byte, from) in row.iter_mut().skip(left as usize * channels as usize).zip(from) {
                *byte = *from;
            }
        }
        Self::new(width, height, channels, data)
    }

    /// These pixels as PNG, which loses nothing.
    ///
    /// # Errors
    /// `Internal` where the encoder fails.
    pub fn to_png(&self) -> Result<Media> {
        let color = match self.channels() {
            Channels::Gray => ExtendedColorType::L8,
            Channels::GrayAlpha => ExtendedColorType::La8,
            Channels::Rgb => ExtendedColorType::Rgb8,
            Channels::Rgba => ExtendedColorType::Rgba8,
        };
        let mut bytes = Cursor::new(Vec::new());
        PngEncoder::new_with_quality(&mut bytes, CompressionType::Fast, PngFilter::Adaptive)
            .write_image(self.data(), self.width(), self.height(), color)
            .map_err(|error| Error::internal("pixels cannot be written as PNG").with_source(error))?;
        Ok(Media::new("image/png", bytes.into_inner()).with_size(self.width(), self.height()))
    }

    /// These pixels as JPEG of a quality from 1 to 100, on white where they may be seen through.
    pub(super) fn to_jpeg(&self, quality: u8) -> Result<Media> {
        let (width, height) = (side(self.width())?, side(self.height())?);
        let opaque = self.on_white()?;
        let color = match opaque.channels() {
            Channels::Gray => jpeg_encoder::ColorType::Luma,
            _ => jpeg_encoder::ColorType::Rgb,
        };
        let mut bytes = Vec::new();
        let mut encoder = jpeg_encoder::Encoder::new(&mut bytes, quality);
        encoder.set_sampling_factor(jpeg_encoder::SamplingFactor::F_2_2);
        encoder
            .encode(opaque.data(), width, height, color)
            .map_err(|error| Error::internal("pixels cannot be written as JPEG").with_source(error))?;
        Ok(Media::new("image/jpeg", bytes).with_size(self.width(), self.height()))
    }

    /// These pixels without alpha, on white.
    fn on_white(&self) -> Result<Cow<'_, Self>> {
        let channels = match self.channels() {
            Channels::Gray | Channels::Rgb => return Ok(Cow::Borrowed(self)),
            Channels::GrayAlpha => Channels::Gray,
            Channels::Rgba => Channels::Rgb,
        };
        let blend = |color: &u8, alpha: u8| {
            let (color, alpha) = (u32::from(*color), u32::from(alpha));
            ((color * alpha + 255 * (255 - alpha) + 127) / 255) as u8
        };
        let data = self
            .data()
            .chunks_exact(self.channels() as usize)
            .filter_map(|pixel| pixel.split_last())
            .flat_map(|(alpha, colors)| colors.iter().map(|color| blend(color, *alpha)))
            .collect();
        Ok(Cow::Owned(Self::new(self.width(), self.height(), channels, data)?))
    }
}

/// The largest size of the same shape within a box, never larger than it is.
pub(super) fn fit((width, height): (u32, u32), (within_width, within_height): (u32, u32)) -> (u32, u32) {
    let scale = (f64::from(within_width) / f64::from(width)).min(f64::from(within_height) / f64::from(height));
    if scale >= 1.0 {
        return (width, height);
    }
    #[expect(clippy::cast_sign_loss, reason = "a product of positive numbers")]
    let scaled = |side: u32| ((f64::from(side) * scale).round() as u32).max(1);
    (scaled(width).min(within_width), scaled(height).min(within_height))
}

fn side(pixels: u32) -> Result<u16> {
    u16::try_from(pixels).map_err(|_| {
        Error::invalid_input(format!("JPEG has no image {pixels} pixels long, at most 65535"))
            .with_sizes(usize::from(u16::MAX), pixels as usize)
            .with_hint("lower `max_width`")
    })
}
