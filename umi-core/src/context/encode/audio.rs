//! The encoder of sound: the file as it is, where its format is one that models hear.

use std::io::{BufReader, Cursor, Read, Seek};

use lofty::{file::AudioFile, probe::Probe};

use super::{EncodeOptions, Encoder, Source, guarded};
use crate::{
    context::{
        kinds::Kind,
        part::{Media, Part},
    },
    error::{Error, Result},
};

/// The largest sound that is sent, in bytes.
const AUDIO_BYTES: usize = 25_000_000;

/// What a file of sound says about itself.
pub(in crate::context) struct AudioFacts {
    pub(in crate::context) seconds: f64,
    pub(in crate::context) sample_rate: Option<u32>,
    pub(in crate::context) channels: Option<u8>,
    pub(in crate::context) kilobits: Option<u32>,
}

/// Reads the properties of a sound.
pub(in crate::context) fn audio_facts(sound: impl Read + Seek) -> Result<AudioFacts> {
    guarded("a sound", || {
        let unreadable =
            |cause: &dyn std::fmt::Display| Error::invalid_input(format!("cannot be read as a sound: {cause}"));
        let probe = Probe::new(BufReader::new(sound)).guess_file_type().map_err(|error| unreadable(&error))?;
        let file = probe.read().map_err(|error| unreadable(&error))?;
        let properties = file.properties();
        Ok(AudioFacts {
            seconds: properties.duration().as_secs_f64(),
            sample_rate: properties.sample_rate(),
            channels: properties.channels(),
            kilobits: properties.audio_bitrate(),
        })
    })
}

/// The sound as it is.
#[derive(Debug)]
pub(super) struct Native;

impl Encoder for Native {
    fn name(&self) -> &'static str {
        "native"
    }

    fn kind(&self) -> Kind {
        Kind::Audio
    }

    fn options(&self) -> Option<&[&str]> {
        Some(&["max_bytes"])
    }

    fn encode(&self, source: &Source<'_>, options: &EncodeOptions) -> Result<Vec<Part>> {
        let limit = options.integer("max_bytes", AUDIO_BYTES as u32, 1..=200_000_000)?;
        let bytes = source.read(limit as usize).map_err(|error| error.with_hint("raise `max_bytes`"))?;
        let facts = audio_facts(Cursor::new(&bytes))?;
        let media =
            Media::new(source.media_type, bytes.into_owned()).with_name(source.name).with_duration(Some(facts.seconds));
        Ok(vec![Part::media(media)])
    }
}
