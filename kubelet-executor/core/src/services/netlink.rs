//! The kernel's messages about its packet filter (`linux/netlink.h`, `linux/netfilter/nfnetlink.h`): requests about IPv4 and their
//! answers.

/// Length of a message's header and of the header of netfilter behind it, in bytes.
const HEADER: usize = 16;
const FAMILY_HEADER: usize = 4;
const AF_INET: u8 = 2;

const ERROR: u16 = 2;
const DONE: u16 = 3;

/// Flags of requests: it is one, its outcome is to be told, a list is wanted.
const REQUEST: u16 = 0x1;
const ACKNOWLEDGE: u16 = 0x4;
const DUMP: u16 = 0x300;

/// The bits of an attribute's type that are no flags.
const TYPE: u16 = 0x3fff;

/// What is wanted of a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Wanted {
    /// A list of messages.
    List,
    /// Its outcome.
    Outcome,
}

/// A message of the kernel.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reply<'a> {
    /// A message of this type, with these attributes.
    Message(u16, &'a [u8]),
    /// The list is complete.
    Done,
    /// The outcome of a request: 0 or an error number.
    Outcome(i32),
}

/// What the kernel has sent cannot be understood.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the kernel's message about the packet filter is cut off")]
pub struct CutOff;

/// A request of this type with these attributes.
pub fn request(kind: u16, wanted: Wanted, attributes: &[u8]) -> Vec<u8> {
    let flags = match wanted {
        Wanted::List => REQUEST | DUMP,
        Wanted::Outcome => REQUEST | ACKNOWLEDGE,
    };
    let length = u32::try_from(HEADER + FAMILY_HEADER + attributes.len()).unwrap_or(u32::MAX);
    let mut out = length.to_ne_bytes().to_vec();
    out.extend([kind, flags].into_iter().flat_map(u16::to_ne_bytes));
    // Sequence number and port: one request after the other is sent on a socket.
    out.extend([0; 8]);
    out.extend([AF_INET, 0, 0, 0]);
    out.extend(attributes);
    out
}

/// Appends an attribute. The next one begins at a multiple of four.
pub fn push_attribute(out: &mut Vec<u8>, kind: u16, value: &[u8]) {
    out.extend(u16::try_from(4 + value.len()).unwrap_or(u16::MAX).to_ne_bytes());
    out.extend(kind.to_ne_bytes());
    out.extend(value);
    out.resize(out.len().next_multiple_of(4), 0);
}

/// The messages of a datagram.
#[derive(Debug)]
pub struct Replies<'a>(pub &'a [u8]);

impl<'a> Iterator for Replies<'a> {
    type Item = Result<Reply<'a>, CutOff>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.0.is_empty() {
            return None;
        }
        let datagram = std::mem::take(&mut self.0);
        let message = number32(datagram, 0)
            .and_then(|length| usize::try_from(length).ok())
            .filter(|length| *length >= HEADER)
            .and_then(|length| datagram.get(..length));
        let Some((message, kind)) = message.zip(number16(datagram, 4)) else { return Some(Err(CutOff)) };
        self.0 = datagram.get(message.len().next_multiple_of(4)..).unwrap_or_default();
        let body = &message[HEADER..];
        Some(match kind {
            DONE => Ok(Reply::Done),
            ERROR => match number32(body, 0) {
                Some(code) => Ok(Reply::Outcome(i32::from_ne_bytes(code.to_ne_bytes()).saturating_neg())),
                None => Err(CutOff),
            },
            kind => Ok(Reply::Message(kind, body.get(FAMILY_HEADER..).unwrap_or_default())),
        })
    }
}

/// Attributes: type, the whole with its header, value. They end where they cannot be read.
#[derive(Debug)]
pub struct Attributes<'a>(pub &'a [u8]);

impl<'a> Iterator for Attributes<'a> {
    type Item = (u16, &'a [u8], &'a [u8]);

    fn next(&mut self) -> Option<Self::Item> {
        const HEADER: usize = 4;
        let length = usize::from(number16(self.0, 0)?);
        let kind = number16(self.0, 2)? & TYPE;
        let whole = self.0.get(..length)?;
        let value = whole.get(HEADER..)?;
        self.0 = self.0.get(length.next_multiple_of(4)..).unwrap_or_default();
        Some((kind, whole, value))
    }
}

fn number16(bytes: &[u8], at: usize) -> Option<u16> {
    Some(u16::from_ne_bytes(bytes.get(at..at + 2)?.try_into().ok()?))
}

fn number32(bytes: &[u8], at: usize) -> Option<u32> {
    Some(u32::from_ne_bytes(bytes.get(at..at + 4)?.try_into().ok()?))
}

#[cfg(test)]
mod tests {
    //! Messages as the kernel writes them.

    use proptest::prelude::*;

    use super::*;

    fn outcome(code: i32) -> Vec<u8> {
        let mut message = request(ERROR, Wanted::Outcome, &[]);
        message.truncate(HEADER);
        message.extend(code.to_ne_bytes());
        message
    }

    #[test]
    fn a_datagram_has_messages_until_the_end_of_a_list() {
        let mut attributes = Vec::new();
        push_attribute(&mut attributes, 7, b"abc");
        let datagram =
            [request(0x100, Wanted::List, &attributes), request(DONE, Wanted::List, &[]), outcome(-2)]
                .concat();
        let replies: Vec<_> = Replies(&datagram).collect();
        let expected = [Ok(Reply::Message(0x100, &attributes)), Ok(Reply::Done), Ok(Reply::Outcome(2))];
        assert_eq!(replies, expected);
        assert_eq!(Attributes(&attributes).collect::<Vec<_>>(), [(7, &attributes[..7], &b"abc"[..])]);
        assert_eq!(attributes.len(), 8, "attributes begin at multiples of four");
    }

    #[test]
    fn what_is_cut_off_is_an_error() {
        let message = request(0x100, Wanted::List, &[0; 8]);
        for cut in 1..message.len() {
            assert_eq!(Replies(&message[..cut]).next(), Some(Err(CutOff)), "{cut} bytes");
        }
        assert_eq!(Replies(&[0; HEADER]).next(), Some(Err(CutOff)), "a message without length");
    }

    proptest! {
        #[test]
        fn anything_can_be_read(bytes in prop::collection::vec(any::<u8>(), 0..200), short in 0u8..60) {
            let mut framed = bytes.clone();
            if framed.len() > HEADER {
                framed[..4].copy_from_slice(&u32::from(short).to_ne_bytes());
            }
            for bytes in [bytes, framed] {
                prop_assert!(Replies(&bytes).count() <= bytes.len());
                prop_assert!(Attributes(&bytes).count() <= bytes.len());
            }
        }
    }
}
