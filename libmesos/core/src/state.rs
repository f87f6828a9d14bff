//! Variables of `org.apache.mesos.state`: versioned values in nodes of ZooKeeper, in the form that Mesos gives them. A variable is
//! stored only if nobody has stored another one since it was fetched.

use bytes::Bytes;
use prost::Message;

/// The longest encoded variable: ZooKeeper's own bound.
const ENCODED_BYTES_MAX: usize = 1 << 20;

/// `mesos.internal.state.Entry`: what a node contains.
#[derive(Clone, PartialEq, Message)]
struct Entry {
    #[prost(string, required, tag = "1")]
    name: String,
    /// The version: 16 random bytes.
    #[prost(bytes = "bytes", required, tag = "2")]
    uuid: Bytes,
    #[prost(bytes = "bytes", required, tag = "3")]
    value: Bytes,
}

/// A variable as it was fetched or stored, or with a new value.
#[derive(Debug, Clone, PartialEq)]
pub struct Variable(Entry);

/// Why a variable is not read or stored.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[allow(missing_docs)]
pub enum StateError {
    #[error("Failed to deserialize Entry")]
    Malformed,
    #[error("Serialized data is too big (> 1 MB)")]
    TooBig,
}

/// What is to be done to a node.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Step {
    /// Create it.
    Create,
    /// Replace its content, if it has not changed meanwhile.
    Replace,
    /// Delete it, if it has not changed meanwhile.
    Delete,
    /// Nothing: this is the outcome.
    Done(bool),
}

impl Variable {
    /// The variable of a name: what its node contains, or a new one without a value, with a version that no other has.
    pub fn fetched(name: &str, node: Option<Bytes>, uuid: [u8; 16]) -> Result<Self, StateError> {
        match node {
            Some(content) => decode(content),
            None => Ok(Variable(Entry {
                name: name.to_owned(),
                uuid: Bytes::copy_from_slice(&uuid),
                value: Bytes::new(),
            })),
        }
    }

    /// Its name.
    pub fn name(&self) -> &str {
        &self.0.name
    }

    /// Its value; empty if it was never stored.
    pub fn value(&self) -> &Bytes {
        &self.0.value
    }

    /// The same version with another value, to be stored.
    pub fn mutate(&self, value: Bytes) -> Self {
        Variable(Entry { value, ..self.0.clone() })
    }

    /// What is stored in place of this variable, under a new version.
    pub fn successor(&self, uuid: [u8; 16]) -> Self {
        Variable(Entry { uuid: Bytes::copy_from_slice(&uuid), ..self.0.clone() })
    }

    /// The content of its node.
    pub fn encode(&self) -> Result<Bytes, StateError> {
        let encoded = self.0.encode_to_vec();
        if encoded.len() > ENCODED_BYTES_MAX { Err(StateError::TooBig) } else { Ok(encoded.into()) }
    }

    /// How to store a successor, given what the node contains now. An attempt whose answer was lost may have stored it.
    pub fn store_step(&self, successor: &Variable, node: Option<Bytes>) -> Result<Step, StateError> {
        let Some(content) = node else { return Ok(Step::Create) };
        let current = decode(content)?;
        Ok(if current.0.uuid == successor.0.uuid {
            Step::Done(true)
        } else if current.0.uuid == self.0.uuid {
            Step::Replace
        } else {
            Step::Done(false)
        })
    }

    /// How to expunge it. After an attempt whose answer was lost, an absent node is taken for expunged.
    pub fn expunge_step(&self, node: Option<Bytes>, attempted: bool) -> Result<Step, StateError> {
        let Some(content) = node else { return Ok(Step::Done(attempted)) };
        Ok(if decode(content)?.0.uuid == self.0.uuid { Step::Delete } else { Step::Done(false) })
    }
}

fn decode(content: Bytes) -> Result<Variable, StateError> {
    Entry::decode(content).map(Variable).map_err(|_| StateError::Malformed)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn new() -> Variable {
        Variable::fetched("n", None, [1; 16]).unwrap()
    }

    #[test]
    fn a_variable_is_read_back_as_mesos_writes_it() {
        let stored = new().mutate(Bytes::from_static(b"v")).successor([2; 16]);
        let encoded = stored.encode().unwrap();
        let mut wanted = b"\x0a\x01n\x12\x10".to_vec();
        wanted.extend([2; 16]);
        wanted.extend(b"\x1a\x01v");
        assert_eq!(encoded, wanted);
        let again = Variable::fetched("n", Some(encoded), [9; 16]).unwrap();
        assert_eq!((again.name(), again.value().as_ref()), ("n", b"v".as_slice()));
        assert_eq!(again, stored);
        assert_eq!(new().value(), "");
        let garbage = Bytes::from_static(b"x");
        assert_eq!(Variable::fetched("n", Some(garbage), [0; 16]), Err(StateError::Malformed));
        let big = new().mutate(vec![0; ENCODED_BYTES_MAX].into());
        assert_eq!(big.encode(), Err(StateError::TooBig));
    }

    #[test]
    fn only_the_version_that_was_fetched_is_replaced() {
        let (first, second, other) = (new(), new().successor([2; 16]), new().successor([3; 16]));
        let node = |variable: &Variable| Some(variable.encode().unwrap());
        assert_eq!(first.store_step(&second, None), Ok(Step::Create));
        assert_eq!(first.store_step(&second, node(&first)), Ok(Step::Replace));
        assert_eq!(first.store_step(&second, node(&other)), Ok(Step::Done(false)));
        assert_eq!(first.store_step(&second, node(&second)), Ok(Step::Done(true)), "of a lost answer");
        assert_eq!(first.store_step(&second, Some(Bytes::from_static(b"x"))), Err(StateError::Malformed));
        assert_eq!(first.expunge_step(node(&first), false), Ok(Step::Delete));
        assert_eq!(first.expunge_step(node(&second), false), Ok(Step::Done(false)));
        assert_eq!(first.expunge_step(None, false), Ok(Step::Done(false)));
        assert_eq!(first.expunge_step(None, true), Ok(Step::Done(true)));
    }
}
