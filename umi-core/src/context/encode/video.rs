//! The encoders of films: `frames`, `mosaic` and `native`, and [`VideoReader`], which decodes what they show.

use std::{
    ffi::OsString,
    fmt,
    io::{self, ErrorKind as IoErrorKind, Read},
    path::PathBuf,
    process::{Command, Output, Stdio},
    sync::{Arc, mpsc},
    thread,
    time::Duration,
};

use super::{Content, EncodeOptions, Encoder, SOURCE_BYTES, Source, decode::decode, image::MAX_WIDTH};
use crate::{
    context::{
        items::{Channels, Pixels},
        kinds::Kind,
        part::{Media, Part},
    },
    error::{Error, ErrorKind, Result},
};

/// The most frames that are shown of a film.
const FRAMES: u32 = 256;
/// How long a decoder may take for one picture of a film.
pub const FILM_TIME: Duration = Duration::from_mins(2);
/// The most bytes that it is heard out for: a picture of the largest size.
const FFMPEG_BYTES: u64 = 512 * 1024 * 1024;

/// The containers that are read as films, by the names that ffmpeg and `PyAV` have for them. What else they read are lists
/// of other files and addresses, and descriptions of what is sent over a network.
pub const FILM_FORMATS: &str = "mov,mp4,m4a,3gp,3g2,mj2,matroska,webm,avi,mpegts,mpeg,mpegvideo,m4v,h264,hevc,ivf,flv,\
    asf,ogg,mxf,gif,apng,dv,nut,rm,wtv";

/// The largest film that is sent as it is, in bytes.
const VIDEO_BYTES: u32 = 20_000_000;

/// What a film says about itself.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct VideoFacts {
    /// How long it plays, in seconds; 0 where it does not say.
    pub seconds: f64,
    /// The width of its pictures, in pixels.
    pub width: u32,
    /// Their height, in pixels.
    pub height: u32,
    /// How many there are in a second, where it says so.
    pub frames_per_second: Option<f64>,
}

impl VideoFacts {
    /// A film that plays so many seconds, with pictures of this size.
    pub fn new(seconds: f64, width: u32, height: u32) -> Self {
        Self { seconds, width, height, frames_per_second: None }
    }

    /// Says how many pictures there are in a second.
    #[must_use]
    pub fn with_frames_per_second(self, rate: Option<f64>) -> Self {
        Self { frames_per_second: rate, ..self }
    }
}

/// Decodes films: ffmpeg, or what the bindings bring.
pub trait VideoReader: Send + Sync + fmt::Debug {
    /// Reads what a film says about itself.
    ///
    /// # Errors
    /// `FeatureNotBuilt` where there is no decoder, `InvalidInput` where it cannot read the film.
    fn facts(&self, source: &Source<'_>) -> Result<VideoFacts>;

    /// The pictures at these times, in seconds and in order, each within a box of `sides` pixels. Fewer, where the film
    /// ends before.
    ///
    /// # Errors
    /// As [`Self::facts`].
    fn frames(&self, source: &Source<'_>, times: &[f64], sides: u32) -> Result<Vec<Pixels>>;
}

/// The program `ffmpeg`, which reads files and nothing else.
#[derive(Clone, Debug)]
pub struct Ffmpeg {
    program: PathBuf,
    /// How long one call of it may take.
    limit: Duration,
}

impl Default for Ffmpeg {
    /// The one that is found on the path.
    fn default() -> Self {
        Self::new("ffmpeg")
    }
}

impl Ffmpeg {
    /// The program at a path.
    pub fn new(program: impl Into<PathBuf>) -> Self {
        Self { program: program.into(), limit: FILM_TIME }
    }

    /// Ends a call of the program that takes longer, 2 minutes by default.
    #[must_use]
    pub fn with_limit(self, limit: Duration) -> Self {
        Self { limit, ..self }
    }

    fn run(&self, source: &Source<'_>, before: &[&str], after: &[&str]) -> Result<Output> {
        let Content::Path(path) = source.content else {
            return Err(Error::invalid_input("ffmpeg reads films in files alone").with_hint("add it by its path"));
        };
        let mut address = OsString::from("file:");
        address.push(path);
        let mut command = Command::new(&self.program);
        command.args(["-nostdin", "-hide_banner", "-protocol_whitelist", "file", "-format_whitelist", FILM_FORMATS]);
        command.args(before).arg("-i").arg(address).args(after);
        let failed = |error: io::Error| match error.kind() {
            IoErrorKind::NotFound => Error::new(ErrorKind::FeatureNotBuilt, "films are decoded by PyAV or ffmpeg")
                .with_hint("pip install \"umi-memory[video]\", or install ffmpeg")
                .with_source(error),
            _ => Error::file("cannot run", &self.program, error),
        };
        output_within(&mut command, self.limit).map_err(failed)?.ok_or_else(|| {
            let seconds = self.limit.as_secs();
            Error::new(ErrorKind::Capacity, format!("ffmpeg took more than {seconds} s over it"))
        })
    }
}

/// What a program says and gives until its end; none where it has not ended in time, after which it is no more.
fn output_within(command: &mut Command, limit: Duration) -> io::Result<Option<Output>> {
    let mut child = command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn()?;
    let (sender, heard) = mpsc::channel();
    let listen = |pipe: Option<Box<dyn Read + Send>>, is_out: bool| {
        let sender = sender.clone();
        move || {
            let mut bytes = Vec::new();
            let read = pipe.map_or(Ok(0), |pipe| pipe.take(FFMPEG_BYTES).read_to_end(&mut bytes));
            // Nobody listens any more where the time was up.
            drop(sender.send((is_out, read.map(|_| bytes))));
        }
    };
    let out = child.stdout.take().map(|pipe| Box::new(pipe) as Box<dyn Read + Send>);
    let told = child.stderr.take().map(|pipe| Box::new(pipe) as Box<dyn Read + Send>);
    thread::Builder::new().spawn(listen(out, true))?;
    thread::Builder::new().spawn(listen(told, false))?;
    let (mut stdout, mut stderr) = (Vec::new(), Vec::new());
    for _ in 0..2 {
        match heard.recv_timeout(limit) {
            Ok((true, bytes)) => stdout = bytes?,
            Ok((false, bytes)) => stderr = bytes?,
            Err(_) => {
                child.kill()?;
                child.wait()?;
                return Ok(None);
            }
        }
    }
    Ok(Some(Output { status: child.wait()?, stdout, stderr }))
}

impl VideoReader for Ffmpeg {
    fn facts(&self, source: &Source<'_>) -> Result<VideoFacts> {
        let output = self.run(source, &[], &[])?;
        let told = String::from_utf8_lossy(&output.stderr);
        parse_facts(&told).ok_or_else(|| {
            let why: String = told.lines().last().unwrap_or_default().chars().take(200).collect();
            Error::invalid_input(format!("cannot be read as a film: {why}"))
        })
    }

    fn frames(&self, source: &Source<'_>, times: &[f64], sides: u32) -> Result<Vec<Pixels>> {
        let scale = format!("scale='min({sides},iw)':'min({sides},ih)':force_original_aspect_ratio=decrease");
        let mut frames = Vec::with_capacity(times.len());
        for time in times {
            let at = format!("{time:.3}");
            let after = ["-frames:v", "1", "-vf", &scale, "-f", "image2pipe", "-c:v", "png", "-"];
            let output = self.run(source, &["-v", "error", "-ss", &at], &after)?;
            if !output.stdout.is_empty() {
                frames.push(decode(&output.stdout, "image/png")?.pixels);
            }
        }
        Ok(frames)
    }
}

/// What ffmpeg says about a film: `Duration: 00:01:02.50, …` and `Video: h264, yuv420p, 640x480, …, 25 fps, …`.
fn parse_facts(told: &str) -> Option<VideoFacts> {
    let video = told.lines().find_map(|line| line.split_once("Video: "))?.1;
    let (width, height) = video.split([',', ' ']).find_map(|word| {
        let (width, height) = word.split_once('x')?;
        Some((width.parse::<u32>().ok()?, height.parse::<u32>().ok()?))
    })?;
    let rate = video.split(", ").find_map(|word| word.strip_suffix(" fps")?.parse().ok());
    let clock = told.split_once("Duration: ").and_then(|(_, rest)| rest.split(',').next());
    let seconds = clock
        .and_then(|clock| {
            clock.trim().split(':').try_fold(0.0, |sum, part| Some(sum * 60.0 + part.parse::<f64>().ok()?))
        })
        .unwrap_or_default();
    Some(VideoFacts { seconds, width, height, frames_per_second: rate })
}

/// The encoders of films by a reader.
pub(super) fn encoders(reader: Arc<dyn VideoReader>) -> [Arc<dyn Encoder>; 3] {
    [Arc::new(Frames(reader.clone())), Arc::new(Mosaic(reader)), Arc::new(Native)]
}

/// So many times, evenly over a film, each in the middle of its part.
fn times(facts: &VideoFacts, per_second: f64, most: u32) -> Vec<f64> {
    #[expect(clippy::cast_sign_loss, reason = "clamped to what is positive")]
    let count = (facts.seconds * per_second).ceil().clamp(1.0, f64::from(most)) as u32;
    (0..count).map(|index| facts.seconds * (f64::from(index) + 0.5) / f64::from(count)).collect()
}

fn clock(seconds: f64) -> String {
    let whole = seconds.max(0.0).floor();
    format!("{}:{:04.1}", (whole / 60.0).floor(), seconds.max(0.0) - (whole / 60.0).floor() * 60.0)
}

fn none_shown() -> Error {
    Error::invalid_input("cannot be read as a film: it has no pictures")
}

/// Pictures of a film, evenly over it.
#[derive(Debug)]
struct Frames(Arc<dyn VideoReader>);

impl Encoder for Frames {
    fn name(&self) -> &'static str {
        "frames"
    }

    fn kind(&self) -> Kind {
        Kind::Video
    }

    fn options(&self) -> Option<&[&str]> {
        Some(&["fps", "max_frames", "max_width", "quality"])
    }

    fn encode(&self, source: &Source<'_>, options: &EncodeOptions) -> Result<Vec<Part>> {
        let per_second = options.number("fps", 1.0, 0.001..=120.0)?;
        let most = options.integer("max_frames", 16, 1..=FRAMES)?;
        let sides = options.integer("max_width", MAX_WIDTH, 16..=8_192)?;
        let quality = options.integer("quality", super::image::QUALITY, 1..=100)? as u8;
        let facts = self.0.facts(source)?;
        let times = times(&facts, per_second, most);
        let frames = self.0.frames(source, &times, sides)?;
        if frames.is_empty() {
            return Err(none_shown());
        }
        let at: Vec<String> = times.iter().take(frames.len()).map(|time| clock(*time)).collect();
        let told = format!("{} ({}), frames at {}:", source.name, clock(facts.seconds), at.join(", "));
        let mut parts = vec![Part::text(told)];
        for frame in frames {
            parts.push(Part::media(frame.to_jpeg(quality)?));
        }
        Ok(parts)
    }
}

/// Pictures of a film, many on one image.
#[derive(Debug)]
struct Mosaic(Arc<dyn VideoReader>);

impl Encoder for Mosaic {
    fn name(&self) -> &'static str {
        "mosaic"
    }

    fn kind(&self) -> Kind {
        Kind::Video
    }

    fn options(&self) -> Option<&[&str]> {
        Some(&["fps", "columns", "rows", "max_mosaics", "thumb_width", "quality"])
    }

    fn encode(&self, source: &Source<'_>, options: &EncodeOptions) -> Result<Vec<Part>> {
        let per_second = options.number("fps", 2.0, 0.001..=120.0)?;
        let columns = options.integer("columns", 4, 1..=16)?;
        let rows = options.integer("rows", 4, 1..=16)?;
        let most = options.integer("max_mosaics", 8, 1..=32)?;
        let side = options.integer("thumb_width", 256, 16..=1_024)?;
        let quality = options.integer("quality", super::image::QUALITY, 1..=100)? as u8;
        let facts = self.0.facts(source)?;
        let times = times(&facts, per_second, (columns * rows * most).min(FRAMES));
        let frames = self.0.frames(source, &times, side)?;
        let Some(first) = frames.first() else { return Err(none_shown()) };
        let (width, height) = (first.width(), first.height());
        let a_mosaic = (columns * rows) as usize;
        let told = format!(
            "{} ({}), {} frames from {} to {} in {} mosaics of {rows} rows of {columns}, read row by row:",
            source.name,
            clock(facts.seconds),
            frames.len(),
            clock(times.first().copied().unwrap_or_default()),
            clock(times.get(frames.len() - 1).copied().unwrap_or_default()),
            frames.len().div_ceil(a_mosaic)
        );
        let mut parts = vec![Part::text(told)];
        for frames in frames.chunks(a_mosaic) {
            let (across, down) = (columns.min(frames.len() as u32), (frames.len() as u32).div_ceil(columns));
            let size = (across * width) as usize * (down * height) as usize * 3;
            let mut canvas = Pixels::new(across * width, down * height, Channels::Rgb, vec![0; size])?;
            for (index, frame) in frames.iter().enumerate() {
                let (row, column) = (index as u32 / columns, index as u32 % columns);
                canvas = canvas.with_pasted(frame.to_rgb()?.as_ref(), column * width, row * height)?;
            }
            parts.push(Part::media(canvas.to_jpeg(quality)?));
        }
        Ok(parts)
    }
}

/// The film as it is, for providers that see films.
#[derive(Debug)]
struct Native;

impl Encoder for Native {
    fn name(&self) -> &'static str {
        "native"
    }

    fn kind(&self) -> Kind {
        Kind::Video
    }

    fn options(&self) -> Option<&[&str]> {
        Some(&["max_bytes"])
    }

    fn encode(&self, source: &Source<'_>, options: &EncodeOptions) -> Result<Vec<Part>> {
        let limit = options.integer("max_bytes", VIDEO_BYTES, 1..=SOURCE_BYTES as u32)?;
        let bytes = source.read(limit as usize).map_err(|error| error.with_hint("raise `max_bytes`"))?;
        let seconds = crate::context::facts::film(&bytes).map(|facts| facts.seconds);
        let media = Media::new(source.media_type, bytes.into_owned()).with_name(source.name).with_duration(seconds);
        Ok(vec![Part::media(media)])
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_ffmpeg_says_is_read() {
        let told = "Input #0, mov,mp4, from 'a.mp4':\n  Duration: 00:01:02.50, start: 0.000000, bitrate: 9 kb/s\n  \
                    Stream #0:0: Video: h264 (High) (avc1 / 0x31637661), yuv420p(progressive), 640x480 [SAR 1:1], 8 kb/s, \
                    29.97 fps, 30 tbr";
        let facts = parse_facts(told).unwrap();
        assert_eq!((facts.seconds, facts.width, facts.height), (62.5, 640, 480));
        assert_eq!(facts.frames_per_second, Some(29.97));
        assert!(parse_facts("a.txt: Invalid data found when processing input").is_none());
        assert_eq!(clock(62.5), "1:02.5");
        assert_eq!(times(&facts, 1.0, 4), [7.8125, 23.4375, 39.0625, 54.6875]);
        assert_eq!(times(&VideoFacts::default(), 1.0, 4), [0.0], "of one that does not say how long it is");
    }

    #[cfg(unix)]
    #[test]
    fn a_decoder_is_told_what_it_may_read_and_ended_when_it_hangs() {
        use std::{fs, os::unix::fs::PermissionsExt};
        let folder = tempfile::tempdir().unwrap();
        let (program, told) = (folder.path().join("ffmpeg"), folder.path().join("told"));
        let script = format!("#!/bin/sh\necho \"$@\" > '{}'\nexec sleep 1000\n", told.display());
        fs::write(&program, script).unwrap();
        fs::set_permissions(&program, fs::Permissions::from_mode(0o755)).unwrap();
        let path = folder.path().join("a.mp4");
        let source =
            Source { name: "a.mp4", kind: Kind::Video, media_type: "video/mp4", content: Content::Path(&path) };
        let error = Ffmpeg::new(program).with_limit(Duration::from_secs(3)).facts(&source).unwrap_err();
        assert_eq!((error.kind(), error.message()), (ErrorKind::Capacity, "ffmpeg took more than 3 s over it"));
        let told = fs::read_to_string(told).unwrap();
        assert!(told.contains("-protocol_whitelist file") && told.contains(&format!("-i file:{}", path.display())));
        let formats = told.split_once("-format_whitelist ").unwrap().1.split(' ').next().unwrap().to_owned();
        for list in ["concat", "hls", "dash", "sdp", "rtsp", "image2", "lavfi"] {
            assert!(!formats.split(',').any(|format| format == list), "{list}");
        }
    }

    #[test]
    fn without_a_decoder_the_way_to_one_is_told() {
        let path = std::path::Path::new("/nowhere.mp4");
        let source =
            Source { name: "nowhere.mp4", kind: Kind::Video, media_type: "video/mp4", content: Content::Path(path) };
        let error = Ffmpeg::new("/no/such/ffmpeg").facts(&source).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::FeatureNotBuilt);
        assert!(error.hint().unwrap().contains("umi-memory[video]"));
    }
}
