//! An object that a token is bound to: the token holds as long as the object.

use serde::{Deserialize, Serialize};
use shim_model::object::Header;
use shim_model::time::Instant;

/// Seconds for which a token holds after the `deletionTimestamp` of an object that is still there: upstream's leeway for clocks that
/// differ.
const LEEWAY: i64 = 60;

/// An object that a token is bound to.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[allow(missing_docs)]
pub struct BoundObject {
    pub name: String,
    pub uid: String,
}

/// Why an object does not count any more.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Gone {
    /// There is none of the name.
    Removed,
    /// The one of the name is another one.
    Replaced { uid: String },
    /// It has been deleted, and finalizers hold it.
    Deleted,
}

impl BoundObject {
    /// Compares it with the object of its name, at a Unix time.
    pub(super) fn check(&self, found: Option<&Header>, now: i64) -> Result<(), Gone> {
        let header = found.ok_or(Gone::Removed)?;
        if header.uid != self.uid {
            return Err(Gone::Replaced { uid: header.uid.clone() });
        }
        // That of a Pod is the end of its grace period.
        let deleted = header.deletion_timestamp.as_deref().and_then(Instant::parse);
        match deleted.is_some_and(|at| at.seconds() + LEEWAY < now) {
            true => Err(Gone::Deleted),
            false => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn an_object_that_finalizers_hold_counts_for_a_minute_after_its_deletion() {
        let bound = BoundObject { name: "sa".to_owned(), uid: "u".to_owned() };
        let header = |uid: &str, deleted: Option<&str>| {
            Header::of(&json!({"metadata": {"name": "sa", "uid": uid, "deletionTimestamp": deleted}}))
        };
        let deleted = header("u", Some("1970-01-01T00:01:40Z"));
        let at = |now| bound.check(Some(&deleted), now);
        assert_eq!([at(100), at(160), at(161)], [Ok(()), Ok(()), Err(Gone::Deleted)]);
        assert_eq!(bound.check(Some(&header("u", None)), 1_000), Ok(()));
        assert_eq!(bound.check(Some(&header("v", None)), 1_000), Err(Gone::Replaced { uid: "v".to_owned() }));
        assert_eq!(bound.check(None, 1_000), Err(Gone::Removed));
    }
}
