//! Finds the members that occur twice in a YAML document, with their lines. Only the parser's errors have positions, so
//! each duplicate is one pass that fails there.

use serde::de::{DeserializeSeed, Deserializer, Error, MapAccess, SeqAccess, Visitor};
use std::fmt;

/// Most duplicates that are reported: each costs one pass over the body.
const REPORTED_MAX: usize = 16;

/// The duplicates of the first document: line and name.
pub(super) fn find(body: &[u8]) -> Vec<(usize, String)> {
    (0..REPORTED_MAX).map_while(|skipped| nth(body, skipped)).collect()
}

fn nth(body: &[u8], skipped: usize) -> Option<(usize, String)> {
    let mut search = Search { skipped, found: None };
    let document = serde_yaml_ng::Deserializer::from_slice(body).next()?;
    let error = Walk(&mut search).deserialize(document).err()?;
    let line = error.location().map_or(1, |at| at.line());
    search.found.map(|key| (line, key))
}

struct Search {
    /// How many duplicates to pass over.
    skipped: usize,
    found: Option<String>,
}

struct Walk<'a>(&'a mut Search);

impl<'de> DeserializeSeed<'de> for Walk<'_> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Walk<'_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a value")
    }

    fn visit_unit<E>(self) -> Result<(), E> {
        Ok(())
    }

    fn visit_none<E>(self) -> Result<(), E> {
        Ok(())
    }

    fn visit_some<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_any(self)
    }

    fn visit_bool<E>(self, _: bool) -> Result<(), E> {
        Ok(())
    }

    fn visit_i64<E>(self, _: i64) -> Result<(), E> {
        Ok(())
    }

    fn visit_u64<E>(self, _: u64) -> Result<(), E> {
        Ok(())
    }

    fn visit_f64<E>(self, _: f64) -> Result<(), E> {
        Ok(())
    }

    fn visit_str<E>(self, _: &str) -> Result<(), E> {
        Ok(())
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<(), A::Error> {
        while seq.next_element_seed(Walk(self.0))?.is_some() {}
        Ok(())
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<(), A::Error> {
        let mut seen = Vec::new();
        while map.next_key_seed(Key { seen: &mut seen, search: self.0 })?.is_some() {
            map.next_value_seed(Walk(self.0))?;
        }
        Ok(())
    }
}

struct Key<'a> {
    seen: &'a mut Vec<String>,
    search: &'a mut Search,
}

impl<'de> DeserializeSeed<'de> for Key<'_> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl Key<'_> {
    fn check<E: Error>(self, key: String) -> Result<(), E> {
        if self.seen.contains(&key) {
            match self.search.skipped.checked_sub(1) {
                Some(left) => self.search.skipped = left,
                None => {
                    self.search.found = Some(key);
                    return Err(E::custom("a member occurs twice"));
                }
            }
        } else {
            self.seen.push(key);
        }
        Ok(())
    }
}

impl Visitor<'_> for Key<'_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a member's name")
    }

    fn visit_str<E: Error>(self, key: &str) -> Result<(), E> {
        self.check(key.to_owned())
    }

    fn visit_bool<E: Error>(self, key: bool) -> Result<(), E> {
        self.check(key.to_string())
    }

    fn visit_i64<E: Error>(self, key: i64) -> Result<(), E> {
        self.check(key.to_string())
    }

    fn visit_u64<E: Error>(self, key: u64) -> Result<(), E> {
        self.check(key.to_string())
    }

    fn visit_f64<E: Error>(self, key: f64) -> Result<(), E> {
        self.check(key.to_string())
    }
}
