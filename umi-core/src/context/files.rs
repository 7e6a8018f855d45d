//! The files that items name: where they are, and opening them.

use std::{
    fs::{self, File, FileType, Metadata, OpenOptions},
    io,
    os::unix::{ffi::OsStrExt, fs::OpenOptionsExt},
    path::{self, Path, PathBuf},
};

use rustix::fs::OFlags;

/// The absolute path of what is there, without symbolic links, and its type.
///
/// # Errors
/// Those of [`fs::canonicalize`] and [`fs::metadata`].
pub(super) fn resolve(given: &Path) -> io::Result<(PathBuf, FileType)> {
    // Most paths have no link in them, of which one question convinces; to look at each of their folders takes as many.
    if let Ok(absolute) = path::absolute(given)
        && is_direct(&absolute)
        && let Some(found) = without_links(&absolute)
    {
        return Ok((absolute, found));
    }
    let path = fs::canonicalize(given)?;
    let found = fs::metadata(&path)?.file_type();
    Ok((path, found))
}

/// Whether an absolute path is written in one way only, as far as its names tell.
fn is_direct(path: &Path) -> bool {
    let mut names = path.as_os_str().as_bytes().split(|byte| *byte == b'/');
    names.next().is_some_and(<[u8]>::is_empty) && names.all(|name| !matches!(name, b"" | b"." | b".."))
}

/// The type of what is there, where no part of the path is a symbolic link. None also where it cannot be told.
#[cfg(target_os = "linux")]
fn without_links(path: &Path) -> Option<FileType> {
    use rustix::fs::{CWD, Mode, ResolveFlags, openat2};
    let found = openat2(CWD, path, OFlags::PATH | OFlags::CLOEXEC, Mode::empty(), ResolveFlags::NO_SYMLINKS).ok()?;
    Some(File::from(found).metadata().ok()?.file_type())
}

#[cfg(not(target_os = "linux"))]
fn without_links(_path: &Path) -> Option<FileType> {
    None
}

/// Opens a file to be read. What was a file when it was added may have become a pipe: that neither waits for a writer
/// here nor is read for ever.
pub(super) fn open_file(path: &Path) -> io::Result<File> {
    let file = OpenOptions::new().read(true).custom_flags(OFlags::NONBLOCK.bits().cast_signed()).open(path)?;
    check(&file.metadata()?)?;
    Ok(file)
}

/// What the system tells of a file, which is none of its other things.
pub(super) fn check_file(path: &Path) -> io::Result<Metadata> {
    let found = fs::metadata(path)?;
    check(&found)?;
    Ok(found)
}

fn check(found: &Metadata) -> io::Result<()> {
    if found.is_file() {
        return Ok(());
    }
    if found.is_dir() {
        return Err(rustix::io::Errno::ISDIR.into());
    }
    Err(io::Error::new(io::ErrorKind::InvalidInput, "it is no regular file"))
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;

    use super::*;

    #[test]
    fn every_path_becomes_what_the_system_makes_of_it() {
        let folder = tempfile::tempdir().unwrap();
        let root = folder.path();
        fs::create_dir_all(root.join("a/b")).unwrap();
        fs::write(root.join("a/b/file"), "x").unwrap();
        symlink(root.join("a"), root.join("to-a")).unwrap();
        symlink("file", root.join("a/b/to-file")).unwrap();
        symlink("nowhere", root.join("broken")).unwrap();
        for name in [
            "a/b/file",
            "a/b",
            "to-a/b/file",
            "a/b/to-file",
            "to-a/b/to-file",
            "a/b/../b/file",
            "to-a/../a/b/file",
            "a//b/./file",
            "a/b/file/",
            "a/b/",
            "a/b/file/x",
            "broken",
            "none",
        ] {
            let given = root.join(name);
            let expected = fs::canonicalize(&given).map_err(|error| error.raw_os_error());
            let found = resolve(&given).map(|(path, _)| path).map_err(|error| error.raw_os_error());
            assert_eq!(found, expected, "{name}");
        }
        assert!(resolve(&root.join("to-a")).unwrap().1.is_dir());
        assert!(resolve(&root.join("a/b/to-file")).unwrap().1.is_file());
        let here = fs::canonicalize("Cargo.toml").unwrap();
        assert_eq!(resolve(Path::new("Cargo.toml")).unwrap().0, here, "relative");
        assert!(resolve(Path::new("")).is_err());
    }

    #[cfg(target_os = "linux")]
    #[test]
    fn a_link_is_noticed_wherever_it_is() {
        let folder = tempfile::tempdir().unwrap();
        let root = fs::canonicalize(folder.path()).unwrap();
        fs::create_dir(root.join("a")).unwrap();
        fs::write(root.join("a/file"), "x").unwrap();
        symlink("a", root.join("to-a")).unwrap();
        symlink("a/file", root.join("to-file")).unwrap();
        assert!(without_links(&root.join("a/file")).is_some_and(|found| found.is_file()));
        assert!(without_links(&root.join("to-a/file")).is_none());
        assert!(without_links(&root.join("to-file")).is_none());
    }

    #[test]
    fn a_pipe_and_a_folder_are_refused_at_once() {
        let folder = tempfile::tempdir().unwrap();
        let pipe = folder.path().join("pipe");
        rustix::fs::mknodat(
            rustix::fs::CWD,
            &pipe,
            rustix::fs::FileType::Fifo,
            rustix::fs::Mode::from_raw_mode(0o600),
            0,
        )
        .unwrap();
        assert_eq!(open_file(&pipe).unwrap_err().kind(), io::ErrorKind::InvalidInput);
        assert_eq!(open_file(folder.path()).unwrap_err().kind(), io::ErrorKind::IsADirectory);
        assert_eq!(check_file(&pipe).unwrap_err().kind(), io::ErrorKind::InvalidInput);
    }
}
