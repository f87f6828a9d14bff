//! What an agent and a supervisor exchange over the supervisor's socket. The agent's first byte says what it attaches to.
//!
//! A frame is a byte with its kind, the length of its content in four bytes, and the content.

use std::io::{self, Read, Write};

/// The first byte of a connection that receives [`ATTACHED`] and then the output, as [`OUTPUT`] and [`ERRORS`] until the container has ended.
pub(crate) const ATTACH_OUTPUT: u8 = b'o';
/// The first byte of a connection that sends input, as [`INPUT`], [`WINDOW`] and [`END`]. It is answered once: with [`DONE`] after
/// the last frame or the container's end, or with what is wrong.
pub(crate) const ATTACH_INPUT: u8 = b'i';

/// Standard output.
pub(crate) const OUTPUT: u8 = 1;
/// Standard error.
pub(crate) const ERRORS: u8 = 2;
/// Bytes for the standard input.
pub(crate) const INPUT: u8 = 3;
/// The size of the terminal: rows and columns, two bytes each.
pub(crate) const WINDOW: u8 = 4;
/// The end of the input.
pub(crate) const END: u8 = 5;
/// All frames were taken.
pub(crate) const DONE: u8 = 6;
/// Somebody else sends input.
pub(crate) const BUSY: u8 = 7;
/// The container's terminal did not take its size: why.
pub(crate) const NO_WINDOW: u8 = 8;
/// The container did not take its input: why.
pub(crate) const NOT_WRITTEN: u8 = 9;

/// From here on this connection receives the output; [`BUSY`] if too many others do.
pub(crate) const ATTACHED: u8 = 10;

/// The longest content: what is read of an output at a time, and longer input is divided.
pub(crate) const CONTENT_MAX: usize = 16 * 1024;

/// The length of a frame before its content.
pub(crate) const HEAD_BYTES: usize = 5;

/// A frame.
pub(crate) fn encode(kind: u8, content: &[u8]) -> Vec<u8> {
    let length = u32::try_from(content.len()).unwrap_or(u32::MAX);
    let mut frame = Vec::with_capacity(HEAD_BYTES + content.len());
    frame.push(kind);
    frame.extend_from_slice(&length.to_be_bytes());
    frame.extend_from_slice(content);
    frame
}

/// The kind and the length of the content, which is bounded.
pub(crate) fn decode_head(head: [u8; HEAD_BYTES]) -> io::Result<(u8, usize)> {
    let [kind, a, b, c, d] = head;
    let length = usize::try_from(u32::from_be_bytes([a, b, c, d])).unwrap_or(usize::MAX);
    match length <= CONTENT_MAX {
        true => Ok((kind, length)),
        false => Err(io::Error::new(io::ErrorKind::InvalidData, "a frame is too long")),
    }
}

/// Reads a frame; `None` at the end.
pub(super) fn read(from: &mut impl Read) -> io::Result<Option<(u8, Vec<u8>)>> {
    let mut head = [0; HEAD_BYTES];
    match from.read_exact(&mut head[..1]) {
        Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => return Ok(None),
        read => read?,
    }
    from.read_exact(&mut head[1..])?;
    let (kind, length) = decode_head(head)?;
    let mut content = vec![0; length];
    from.read_exact(&mut content)?;
    Ok(Some((kind, content)))
}

/// Writes a frame.
pub(super) fn write(to: &mut impl Write, kind: u8, content: &[u8]) -> io::Result<()> {
    to.write_all(&encode(kind, content))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn frames_are_read_as_they_are_written() {
        let stream = [encode(INPUT, b"abc"), encode(END, b"")].concat();
        let mut from = stream.as_slice();
        assert_eq!(read(&mut from).unwrap(), Some((INPUT, b"abc".to_vec())));
        assert_eq!(read(&mut from).unwrap(), Some((END, Vec::new())));
        assert_eq!(read(&mut from).unwrap(), None);
        assert!(read(&mut &stream[..6]).is_err(), "cut off");
        assert!(read(&mut &encode(INPUT, &vec![0; CONTENT_MAX + 1])[..]).is_err(), "too long");
    }
}
