//! Images that are objects of Python: those of PIL, and NumPy arrays of pixels.

use std::{any::Any, fmt};

use pyo3::{buffer::PyBuffer, intern, prelude::*, pybacked::PyBackedBytes, types::PyDict};
use umi_core::{
    Error, ErrorKind, Result,
    context::{Channels, Kind, Media, Object, Pixels},
};

use crate::{
    convert::wrong_type,
    error::{IntoPyResult, PythonError},
};

/// The EXIF tag of the orientation.
const ORIENTATION: u16 = 0x0112;

/// An image of PIL, or an array of NumPy, kept alive. It is asked for its state anew each time, since both can change.
pub(crate) struct Image {
    pub(super) object: Py<PyAny>,
    is_array: bool,
}

impl fmt::Debug for Image {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(if self.is_array { "numpy.ndarray" } else { "PIL.Image" })
    }
}

impl Image {
    pub(super) fn of_pil(image: &Bound<'_, PyAny>) -> Self {
        Self { object: image.clone().unbind(), is_array: false }
    }

    /// What the lists call the class of an object.
    pub(super) fn media_type(object: &dyn Object) -> &'static str {
        let any: &dyn Any = object;
        if any.downcast_ref().is_some_and(|image: &Self| image.is_array) { "image/numpy" } else { "image/pil" }
    }

    /// Takes an array of rows of pixels: of numbers, or of 1, 3 or 4 numbers each. Whole numbers have 8 or 16 bits; those
    /// with a fraction are from 0 to 1.
    pub(super) fn of_array(array: &Bound<'_, PyAny>) -> PyResult<Self> {
        let (shape, kind) = (shape(array)?, element(array)?);
        if channels(&shape).is_none() || shape.contains(&0) {
            let error = Error::invalid_input(format!("an array of shape `{shape:?}` is not an image"))
                .with_hint("an image has the shape (height, width) or (height, width, 1, 3 or 4)");
            return Err(error).py();
        }
        if !matches!(kind.as_str(), "b1" | "u1" | "u2" | "f4" | "f8") {
            let name = array.getattr(intern!(array.py(), "dtype"))?.str()?.to_string_lossy().into_owned();
            return Err(wrong_type(&format!("an array of bool, uint8, uint16, float32 or float64, not {name}"), array));
        }
        Ok(Self { object: array.clone().unbind(), is_array: true })
    }

    fn ask<T>(&self, ask: impl FnOnce(&Bound<'_, PyAny>) -> PyResult<T>) -> Result<T> {
        Python::attach(|py| {
            ask(self.object.bind(py)).map_err(|cause| {
                let told = cause.value(py).to_string();
                let error = if told.is_empty() {
                    // Pillow asserts that there is a file behind an image that was not loaded before.
                    let class = cause.get_type(py).name().map(|name| name.to_string()).unwrap_or_default();
                    Error::invalid_input(format!("an image cannot give its pixels: {class}"))
                        .with_hint("where its file was closed, load() it before that")
                } else {
                    Error::invalid_input(format!("an image cannot give its pixels: {told}"))
                };
                error.with_source(PythonError::new(cause))
            })
        })
    }

    fn size(&self) -> Result<(u64, u64)> {
        self.ask(|object| {
            if self.is_array {
                let shape = shape(object)?;
                return Ok((shape.get(1).copied().unwrap_or_default(), shape.first().copied().unwrap_or_default()));
            }
            object.getattr(intern!(object.py(), "size"))?.extract()
        })
    }

    /// Refuses what has more than `limit` pixels.
    fn check_size(&self, limit: u64) -> Result<()> {
        let (width, height) = self.size()?;
        if width.saturating_mul(height) <= limit {
            return Ok(());
        }
        let message = format!("an image has {width}×{height} pixels, at most {limit} are allowed");
        Err(Error::new(ErrorKind::Capacity, message))
    }
}

fn shape(array: &Bound<'_, PyAny>) -> PyResult<Vec<u64>> {
    array.getattr(intern!(array.py(), "shape"))?.extract()
}

/// The kind of an array's elements with their bytes, without the order of these: `u1`.
fn element(array: &Bound<'_, PyAny>) -> PyResult<String> {
    let dtype = array.getattr(intern!(array.py(), "dtype"))?;
    let name: String = dtype.getattr(intern!(array.py(), "str"))?.extract()?;
    Ok(name.trim_start_matches(['<', '>', '|', '=']).to_owned())
}

fn channels(shape: &[u64]) -> Option<Channels> {
    match shape {
        [_, _] | [_, _, 1] => Some(Channels::Gray),
        [_, _, 3] => Some(Channels::Rgb),
        [_, _, 4] => Some(Channels::Rgba),
        _ => None,
    }
}

impl Object for Image {
    fn kind(&self) -> Kind {
        Kind::Image
    }

    fn description(&self) -> String {
        let (name, detail) = if self.is_array { ("numpy.ndarray", "dtype") } else { ("PIL.Image", "mode") };
        let told = self.size().and_then(|(width, height)| {
            let detail = self.ask(|object| Ok(object.getattr(detail)?.str()?.to_string_lossy().into_owned()))?;
            Ok(format!("{name}({detail}, {width}×{height})"))
        });
        told.unwrap_or_else(|_| name.to_owned())
    }

    fn bytes(&self) -> Option<u64> {
        if self.is_array {
            return self.ask(|object| object.getattr(intern!(object.py(), "nbytes"))?.extract()).ok();
        }
        let (width, height) = self.size().ok()?;
        let bytes_a_pixel = self
            .ask(|object| {
                let mode = object.getattr(intern!(object.py(), "mode"))?.extract::<String>()?;
                Ok(match mode.as_str() {
                    "1" | "L" | "P" => 1,
                    "I;16" | "I;16L" | "I;16B" | "LA" | "La" | "PA" => 2,
                    "RGB" | "YCbCr" | "LAB" | "HSV" => 3,
                    _ => 4,
                })
            })
            .ok()?;
        Some(width * height * bytes_a_pixel)
    }

    fn stored(&self, limit: u64) -> Result<Media> {
        self.check_size(limit)?;
        let name = if self.is_array { "stored_array" } else { "stored_image" };
        let stored: Option<(String, PyBackedBytes)> = self.ask(|object| {
            object.py().import(intern!(object.py(), "umi._images"))?.call_method1(name, (object,))?.extract()
        })?;
        match stored {
            Some((media_type, bytes)) => Ok(Media::new(media_type, &*bytes)),
            None => self.pixels(limit)?.to_png(),
        }
    }

    fn pixels(&self, limit: u64) -> Result<Pixels> {
        self.check_size(limit)?;
        if self.is_array { self.ask(pixels_of_array)? } else { self.ask(pixels_of_pil)? }
    }
}

fn pixels_of_array(array: &Bound<'_, PyAny>) -> PyResult<Result<Pixels>> {
    let (py, shape) = (array.py(), shape(array)?);
    #[expect(clippy::cast_sign_loss, reason = "it is clamped; what is not a number becomes 0")]
    let cut = |value: f64| (value.clamp(0.0, 1.0) * 255.0).round() as u8;
    // in the processor's order of bytes, which the buffers below are read in
    let native = |kind: &str| array.call_method1(intern!(py, "astype"), (kind,));
    let data: Vec<u8> = match element(array)?.as_str() {
        "b1" => PyBuffer::<u8>::get(&native("uint8")?)?.to_vec(py)?.into_iter().map(|bit| bit * 255).collect(),
        "u1" => PyBuffer::<u8>::get(array)?.to_vec(py)?,
        "u2" => {
            PyBuffer::<u16>::get(&native("uint16")?)?.to_vec(py)?.into_iter().map(|deep| (deep >> 8) as u8).collect()
        }
        _ => PyBuffer::<f64>::get(&native("float64")?)?.to_vec(py)?.into_iter().map(cut).collect(),
    };
    let side = |place: usize| shape.get(place).and_then(|side| u32::try_from(*side).ok()).unwrap_or_default();
    let channels = channels(&shape).unwrap_or(Channels::Gray); // a reshaped one has too few or too many bytes then
    Ok(Pixels::new(side(1), side(0), channels, data))
}

fn pixels_of_pil(image: &Bound<'_, PyAny>) -> PyResult<Result<Pixels>> {
    let py = image.py();
    let mut image = image.clone();
    let turned = image.call_method0(intern!(py, "getexif"))?.call_method1(intern!(py, "get"), (ORIENTATION, 1))?;
    if !turned.eq(1)? {
        image = py.import(intern!(py, "PIL.ImageOps"))?.call_method1(intern!(py, "exif_transpose"), (&image,))?;
    }
    let mode: String = image.getattr(intern!(py, "mode"))?.extract()?;
    let (width, height): (u32, u32) = image.getattr(intern!(py, "size"))?.extract()?;
    let is_transparent = image
        .getattr(intern!(py, "info"))?
        .cast_into::<PyDict>()
        .is_ok_and(|info| info.contains(intern!(py, "transparency")).unwrap_or_default());
    let mode = if mode == "La" {
        // which is converted to this one alone
        image = image.call_method1(intern!(py, "convert"), ("LA",))?;
        "LA".to_owned()
    } else {
        mode
    };
    let bytes = |image: &Bound<'_, PyAny>| image.call_method0(intern!(py, "tobytes"))?.extract::<Vec<u8>>();
    let (channels, data) = match mode.as_str() {
        // 16 bits a pixel, of which the upper eight are shown: PIL's own way cuts all above 255
        "I;16" | "I;16L" | "I;16N" => {
            (Channels::Gray, bytes(&image)?.chunks(2).map(|pair| pair[pair.len() - 1]).collect())
        }
        "I;16B" => (Channels::Gray, bytes(&image)?.chunks(2).map(|pair| pair[0]).collect()),
        "I" => {
            let wide: Vec<i32> = bytes(&image)?
                .chunks_exact(4)
                .map(|four| i32::from_ne_bytes([four[0], four[1], four[2], four[3]]))
                .collect();
            // of 8 bits, of 16, or of as many as there are
            let shift = match wide.iter().max() {
                Some(most @ 65_536..) => 24 - most.leading_zeros(),
                Some(256..) => 8,
                _ => 0,
            };
            let byte = |value: i32| u8::try_from((value >> shift).clamp(0, 255)).unwrap_or_default();
            (Channels::Gray, wide.into_iter().map(byte).collect())
        }
        "L" if !is_transparent => (Channels::Gray, bytes(&image)?),
        "LA" => (Channels::GrayAlpha, bytes(&image)?),
        "RGB" if !is_transparent => (Channels::Rgb, bytes(&image)?),
        "RGBA" => (Channels::Rgba, bytes(&image)?),
        other => {
            let has_opacity = is_transparent || matches!(other, "PA" | "RGBa");
            let (mode, channels) = if has_opacity { ("RGBA", Channels::Rgba) } else { ("RGB", Channels::Rgb) };
            (channels, bytes(&image.call_method1(intern!(py, "convert"), (mode,))?)?)
        }
    };
    Ok(Pixels::new(width, height, channels, data))
}
