//! SPDY/3.1 frames: an encoder and a decoder. Pure; `upstream.rs` has the connections.
//!
//! ```text
//! control: 1 | version(15) | type(16) | flags(8) | length(24) | payload
//! data:    0 | stream(31)             | flags(8) | length(24) | payload
//! ```

use bytes::{Buf, BufMut, Bytes, BytesMut};
use flate2::{Compress, Compression, Decompress, FlushCompress, FlushDecompress, Status};

use super::dictionary::DICTIONARY;

const VERSION: u16 = 3;
/// The sender closes its side of the stream.
const FLAG_FIN: u8 = 1;
/// Limit of a received frame; peers send pieces of 32 KiB.
const FRAME_BYTES_MAX: usize = 1 << 20;
/// Limit of an uncompressed header block.
const HEADER_BYTES_MAX: usize = 64 << 10;
/// Limit of headers in a block.
const HEADERS_MAX: usize = 128;

/// Lower-case names and values.
pub type Headers = Vec<(String, String)>;

#[derive(Debug, Clone, PartialEq, Eq)]
#[allow(missing_docs)]
pub enum Frame {
    Data {
        stream: u32,
        fin: bool,
        bytes: Bytes,
    },
    SynStream {
        stream: u32,
        fin: bool,
        headers: Headers,
    },
    SynReply {
        stream: u32,
        fin: bool,
        headers: Headers,
    },
    RstStream {
        stream: u32,
        status: u32,
    },
    Settings,
    Ping {
        id: u32,
    },
    GoAway {
        last_stream: u32,
        status: u32,
    },
    Headers {
        stream: u32,
        fin: bool,
        headers: Headers,
    },
    WindowUpdate {
        stream: u32,
        delta: u32,
    },
    /// A control frame of an unknown type; ignored.
    Unknown {
        kind: u16,
    },
}

/// A protocol error; the connection cannot be used any more.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[allow(missing_docs)]
pub enum SpdyError {
    #[error("a frame of SPDY version {0}")]
    Version(u16),
    #[error("a frame of {0} bytes")]
    TooLong(usize),
    #[error("a frame is too short for its type")]
    Short,
    #[error("a header block is broken")]
    HeaderBlock,
}

/// Decodes frames.
pub struct Decoder {
    buffer: BytesMut,
    inflate: Decompress,
}

impl Default for Decoder {
    fn default() -> Self {
        Self { buffer: BytesMut::new(), inflate: Decompress::new(true) }
    }
}

impl Decoder {
    /// Appends received bytes.
    pub fn push(&mut self, bytes: &[u8]) {
        self.buffer.extend_from_slice(bytes);
    }

    /// The next complete frame; `None` while it is incomplete.
    pub fn next_frame(&mut self) -> Result<Option<Frame>, SpdyError> {
        if self.buffer.len() < 8 {
            return Ok(None);
        }
        let head = u32::from_be_bytes([self.buffer[0], self.buffer[1], self.buffer[2], self.buffer[3]]);
        let flags = self.buffer[4];
        let length = u32::from_be_bytes([0, self.buffer[5], self.buffer[6], self.buffer[7]]) as usize;
        if length > FRAME_BYTES_MAX {
            return Err(SpdyError::TooLong(length));
        }
        if self.buffer.len() < 8 + length {
            return Ok(None);
        }
        self.buffer.advance(8);
        let payload = self.buffer.split_to(length).freeze();
        let fin = flags & FLAG_FIN != 0;
        if head & 0x8000_0000 == 0 {
            return Ok(Some(Frame::Data { stream: head, fin, bytes: payload }));
        }
        let version = ((head >> 16) & 0x7fff) as u16;
        if version != VERSION {
            return Err(SpdyError::Version(version));
        }
        self.control((head & 0xffff) as u16, fin, payload).map(Some)
    }

    fn control(&mut self, kind: u16, fin: bool, mut payload: Bytes) -> Result<Frame, SpdyError> {
        let number = |payload: &mut Bytes| {
            if payload.len() < 4 { Err(SpdyError::Short) } else { Ok(payload.get_u32()) }
        };
        let id = |number: u32| number & 0x7fff_ffff;
        Ok(match kind {
            1 => {
                let stream = id(number(&mut payload)?);
                let _associated = number(&mut payload)?;
                if payload.len() < 2 {
                    return Err(SpdyError::Short);
                }
                payload.advance(2);
                Frame::SynStream { stream, fin, headers: self.headers(&payload)? }
            }
            2 => Frame::SynReply { stream: id(number(&mut payload)?), fin, headers: self.headers(&payload)? },
            3 => Frame::RstStream { stream: id(number(&mut payload)?), status: number(&mut payload)? },
            4 => Frame::Settings,
            6 => Frame::Ping { id: number(&mut payload)? },
            7 => Frame::GoAway { last_stream: id(number(&mut payload)?), status: number(&mut payload)? },
            8 => Frame::Headers { stream: id(number(&mut payload)?), fin, headers: self.headers(&payload)? },
            9 => Frame::WindowUpdate { stream: id(number(&mut payload)?), delta: id(number(&mut payload)?) },
            kind => Frame::Unknown { kind },
        })
    }

    /// All header blocks of a direction share one compression stream.
    fn headers(&mut self, block: &[u8]) -> Result<Headers, SpdyError> {
        let mut plain = Vec::with_capacity(block.len() * 4 + 64);
        let mut rest = block;
        while !rest.is_empty() {
            if plain.len() == plain.capacity() {
                if plain.len() >= HEADER_BYTES_MAX {
                    return Err(SpdyError::HeaderBlock);
                }
                plain.reserve(4096);
            }
            let before = (self.inflate.total_in(), plain.len());
            let result = self.inflate.decompress_vec(rest, &mut plain, FlushDecompress::Sync);
            let taken =
                usize::try_from(self.inflate.total_in() - before.0).map_err(|_| SpdyError::HeaderBlock)?;
            rest = rest.get(taken..).ok_or(SpdyError::HeaderBlock)?;
            match result {
                Ok(Status::StreamEnd) => return Err(SpdyError::HeaderBlock),
                Ok(_) if taken == 0 && plain.len() == before.1 && plain.len() < plain.capacity() => {
                    return Err(SpdyError::HeaderBlock);
                }
                Ok(_) => {}
                Err(error) if error.needs_dictionary().is_some() => {
                    self.inflate.set_dictionary(&DICTIONARY).map_err(|_| SpdyError::HeaderBlock)?;
                }
                Err(_) => return Err(SpdyError::HeaderBlock),
            }
        }
        parse_headers(&plain)
    }
}

fn parse_headers(mut block: &[u8]) -> Result<Headers, SpdyError> {
    let number = |block: &mut &[u8]| -> Result<usize, SpdyError> {
        let (head, rest) = block.split_at_checked(4).ok_or(SpdyError::HeaderBlock)?;
        *block = rest;
        let bytes = <[u8; 4]>::try_from(head).map_err(|_| SpdyError::HeaderBlock)?;
        usize::try_from(u32::from_be_bytes(bytes)).map_err(|_| SpdyError::HeaderBlock)
    };
    let count = number(&mut block)?;
    if count > HEADERS_MAX {
        return Err(SpdyError::HeaderBlock);
    }
    let mut headers = Vec::with_capacity(count);
    for _ in 0..count {
        let mut text = || -> Result<String, SpdyError> {
            let length = number(&mut block)?;
            let (text, rest) = block.split_at_checked(length).ok_or(SpdyError::HeaderBlock)?;
            block = rest;
            String::from_utf8(text.to_vec()).map_err(|_| SpdyError::HeaderBlock)
        };
        headers.push((text()?, text()?));
    }
    Ok(headers)
}

/// Encodes frames.
pub struct Encoder {
    deflate: Compress,
    primed: bool,
}

impl Default for Encoder {
    fn default() -> Self {
        Self { deflate: Compress::new(Compression::default(), true), primed: false }
    }
}

impl Encoder {
    /// Encodes a frame.
    pub fn encode(&mut self, frame: &Frame) -> Bytes {
        let mut payload = BytesMut::new();
        let flags = |fin: &bool| if *fin { FLAG_FIN } else { 0 };
        let (kind, flags) = match frame {
            Frame::Data { stream, fin, bytes } => {
                let mut out = BytesMut::with_capacity(8 + bytes.len());
                out.put_u32(stream & 0x7fff_ffff);
                out.put_u32(u32::from(flags(fin)) << 24 | length(bytes.len()));
                out.put_slice(bytes);
                return out.freeze();
            }
            Frame::SynStream { stream, fin, headers } => {
                payload.put_u32(*stream);
                payload.put_u32(0);
                payload.put_u16(0);
                self.headers(headers, &mut payload);
                (1, flags(fin))
            }
            Frame::SynReply { stream, fin, headers } => {
                payload.put_u32(*stream);
                self.headers(headers, &mut payload);
                (2, flags(fin))
            }
            Frame::RstStream { stream, status } => {
                payload.put_u32(*stream);
                payload.put_u32(*status);
                (3, 0)
            }
            Frame::Settings => {
                payload.put_u32(0);
                (4, 0)
            }
            Frame::Ping { id } => {
                payload.put_u32(*id);
                (6, 0)
            }
            Frame::GoAway { last_stream, status } => {
                payload.put_u32(*last_stream);
                payload.put_u32(*status);
                (7, 0)
            }
            Frame::Headers { stream, fin, headers } => {
                payload.put_u32(*stream);
                self.headers(headers, &mut payload);
                (8, flags(fin))
            }
            Frame::WindowUpdate { stream, delta } => {
                payload.put_u32(*stream);
                payload.put_u32(*delta);
                (9, 0)
            }
            Frame::Unknown { kind } => (*kind, 0),
        };
        let mut out = BytesMut::with_capacity(8 + payload.len());
        out.put_u16(0x8000 | VERSION);
        out.put_u16(kind);
        out.put_u32(u32::from(flags) << 24 | length(payload.len()));
        out.put_slice(&payload);
        out.freeze()
    }

    fn headers(&mut self, headers: &Headers, out: &mut BytesMut) {
        let mut plain = BytesMut::new();
        plain.put_u32(u32::try_from(headers.len()).unwrap_or(0));
        for (name, value) in headers {
            for text in [name, value] {
                plain.put_u32(u32::try_from(text.len()).unwrap_or(0));
                plain.put_slice(text.as_bytes());
            }
        }
        if !self.primed {
            self.primed = true;
            self.deflate.set_dictionary(&DICTIONARY).expect("nothing was compressed before");
        }
        let mut packed = Vec::with_capacity(plain.len() + 64);
        let mut rest: &[u8] = &plain;
        loop {
            let before = self.deflate.total_in();
            let done = self.deflate.compress_vec(rest, &mut packed, FlushCompress::Sync);
            done.expect("compression has enough room and is never finished");
            let taken = usize::try_from(self.deflate.total_in() - before).unwrap_or(0);
            rest = &rest[taken..];
            if rest.is_empty() && packed.len() < packed.capacity() {
                break;
            }
            packed.reserve(256);
        }
        out.put_slice(&packed);
    }
}

/// The frame length has 24 bits; ours are far shorter.
fn length(bytes: usize) -> u32 {
    let length = u32::try_from(bytes).unwrap_or(u32::MAX);
    assert!(length < 1 << 24, "our own frames are short");
    length
}

#[cfg(test)]
mod tests;
