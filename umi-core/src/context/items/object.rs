//! [`Object`]: what the bindings keep alive, and [`Pixels`]: what it consists of.

use std::{any::Any, fmt};

use crate::{
    context::{kinds::Kind, part::Media},
    error::{Error, Result},
};

/// An object in memory that the bindings keep alive, such as an image of PIL: it describes itself, and gives its
/// pixels when it is asked.
///
/// No lock of the context is held while it is called.
pub trait Object: Any + Send + Sync + fmt::Debug {
    /// What kind of thing it is.
    fn kind(&self) -> Kind;

    /// What it is in a few words, such as `PIL.Image(RGB, 1024×768)`.
    fn description(&self) -> String;

    /// Its size when its pixels lie in memory, in bytes.
    fn bytes(&self) -> Option<u64>;

    /// Its pixels.
    ///
    /// # Errors
    /// `Capacity` where it has more than `limit` pixels, before memory is spent on them; `InvalidInput` where it cannot
    /// give any.
    fn pixels(&self, limit: u64) -> Result<Pixels>;

    /// The form in which a saved context keeps it: unless it has one of its own, its pixels as PNG of 8 bits a channel.
    ///
    /// # Errors
    /// As [`Self::pixels`].
    fn stored(&self, limit: u64) -> Result<Media> {
        self.pixels(limit)?.to_png()
    }
}

/// What a pixel consists of, a byte each.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Channels {
    /// Brightness.
    Gray = 1,
    /// Brightness and opacity.
    GrayAlpha = 2,
    /// Red, green and blue.
    Rgb = 3,
    /// Red, green, blue and opacity.
    Rgba = 4,
}

/// An image, row by row from its top left.
#[derive(Clone, PartialEq, Eq)]
pub struct Pixels {
    width: u32,
    height: u32,
    channels: Channels,
    data: Vec<u8>,
}

impl Pixels {
    /// An image of `width` × `height` pixels.
    ///
    /// # Errors
    /// `InvalidInput` where a side is 0 or `data` has another length than the size asks for.
    pub fn new(width: u32, height: u32, channels: Channels, data: Vec<u8>) -> Result<Self> {
        let expected = u64::from(width) * u64::from(height) * channels as u64;
        if expected == 0 {
            return Err(Error::invalid_input(format!("an image of {width}×{height} has no pixels")));
        }
        if data.len() as u64 != expected {
            let message =
                format!("an image of {width}×{height} {channels:?} takes {expected} bytes, got {}", data.len());
            return Err(Error::invalid_input(message));
        }
        Ok(Self { width, height, channels, data })
    }

    /// Pixels in a row.
    pub fn width(&self) -> u32 {
        self.width
    }

    /// Rows.
    pub fn height(&self) -> u32 {
        self.height
    }

    /// What a pixel consists of.
    pub fn channels(&self) -> Channels {
        self.channels
    }

    /// The bytes.
    pub fn data(&self) -> &[u8] {
        &self.data
    }

    /// The bytes, without a copy.
    pub fn into_data(self) -> Vec<u8> {
        self.data
    }
}

impl fmt::Debug for Pixels {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Pixels({}×{} {:?})", self.width, self.height, self.channels)
    }
}
