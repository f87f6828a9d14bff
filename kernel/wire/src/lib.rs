//! The wire of the kernel: Mesos v1 messages, their two encodings (protobuf and Mesos' own JSON), RecordIO framing, and the
//! way between messages and the nouns of `kernel-model`. Also our own messages between agent and master.
//!
//! Pure: bytes in, values out. Sockets live in the shell. Each family of nouns is one file; what the kernel carries and does
//! not read stays encoded in the `extra` of the noun, so that nothing that a framework said is lost on the way.

pub mod codec;
#[allow(deprecated)] // old forms of the wire are still spoken
pub mod executor;
pub mod executor_api;
#[allow(deprecated)] // old forms of the wire are still spoken
pub mod framework;
pub mod json;
pub mod labels;
pub mod link;
pub mod offer;
pub mod offer_wishes;
pub mod operator;
pub mod record;
pub mod recordio;
pub mod required;
#[allow(deprecated)] // old forms of the wire are still spoken
pub mod resources;
pub mod scheduler_call;
pub mod scheduler_event;
pub mod task;
mod wirescan;

/// Generated messages, module by package.
#[allow(missing_docs, clippy::all)]
pub mod proto {
    include!(concat!(env!("OUT_DIR"), "/protos.rs"));
}

pub use prost;
pub use proto::catamaran::link as link_proto;
pub use proto::mesos::v1;

use bytes::Bytes;
use prost::Message;

/// A message that parses and still is none: the sentence says what is wrong, as a Mesos master would answer it.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct Invalid(pub String);

impl Invalid {
    fn new(text: impl Into<String>) -> Self {
        Self(text.into())
    }
}

/// Encodes what is left of a message after its known fields were taken; nothing for a message without other fields.
pub(crate) fn leftover<M: Message + Default + PartialEq>(rest: &M) -> Bytes {
    if *rest == M::default() { Bytes::new() } else { rest.encode_to_vec().into() }
}

/// The message that [`leftover`] was made of.
pub(crate) fn restore<M: Message + Default>(extra: &Bytes) -> M {
    if extra.is_empty() {
        return M::default();
    }
    M::decode(extra.clone()).unwrap_or_default()
}

#[cfg(test)]
mod tests;
