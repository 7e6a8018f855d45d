//! SHA-256 of contents.
//!
//! It, and no faster hash that can be made to collide: users of one store share the file of one content, so that a
//! collision would give one of them the bytes of another. It is also what `sha256sum` prints.

use std::io::{self, Read};

use ring::digest::{Context, SHA256};

/// The length of a hash in hexadecimal digits.
pub(crate) const HASH_DIGITS: usize = 64;
/// How much is read at once.
const CHUNK_BYTES: usize = 256 * 1024;

/// The hash of bytes, in hexadecimal digits.
pub(crate) fn digest(bytes: &[u8]) -> String {
    let mut digest = Context::new(&SHA256);
    digest.update(bytes);
    hexadecimal(digest)
}

/// The hash and the length of all that a reader gives, each part of which is handed on to `also`.
pub(crate) fn digest_of(
    mut reader: impl Read,
    mut also: impl FnMut(&[u8]) -> io::Result<()>,
) -> io::Result<(String, u64)> {
    let mut digest = Context::new(&SHA256);
    let mut chunk = vec![0; CHUNK_BYTES];
    let mut length = 0;
    loop {
        let read = match reader.read(&mut chunk) {
            Ok(0) => return Ok((hexadecimal(digest), length)),
            Ok(read) => read,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
            Err(error) => return Err(error),
        };
        digest.update(&chunk[..read]);
        also(&chunk[..read])?;
        length += read as u64;
    }
}

fn hexadecimal(digest: Context) -> String {
    let mut text = String::with_capacity(HASH_DIGITS);
    for byte in digest.finish().as_ref() {
        for digit in [byte >> 4, byte & 0xf] {
            text.push(char::from(b"0123456789abcdef"[usize::from(digit)]));
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_and_what_is_read_of_them_have_the_same_hash() {
        let abc = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"; // FIPS 180-2, appendix B.1
        assert_eq!(digest(b"abc"), abc);
        let mut seen = Vec::new();
        let read = digest_of(&b"abc"[..], |chunk| {
            seen.extend_from_slice(chunk);
            Ok(())
        });
        assert_eq!((read.unwrap(), seen), ((abc.to_owned(), 3), b"abc".to_vec()));
    }
}
