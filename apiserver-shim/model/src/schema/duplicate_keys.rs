//! Finds the members that occur twice in a YAML document, with their lines. Only the parser's errors have positions, so
//! each duplicate is one pass that fails there.

use serde::de::{
    DeserializeSeed, Deserializer, EnumAccess, Error, MapAccess, SeqAccess, VariantAccess, Visitor,
};
use std::{collections::BTreeSet, fmt};

use serde_json::Value;

use super::yaml_document::{Name, NameVisitor, utf_8};

/// Most duplicates that are reported: each costs one pass over the body.
const REPORTED_MAX: usize = 16;

/// What upstream's parser says about the duplicates of the first document.
pub(super) fn told(body: &[u8]) -> Vec<String> {
    let told =
        |(line, key): (usize, String)| format!("line {line}: key {} already set in map", Value::from(key));
    find(body).into_iter().map(told).collect()
}

/// The error that it makes of them.
pub(super) fn unmarshal_errors(lines: &[String]) -> String {
    let lines: String = lines.iter().map(|line| format!("\n  {line}")).collect();
    format!("yaml: unmarshal errors:{lines}")
}

/// The duplicates of the first document: line and name.
fn find(body: &[u8]) -> Vec<(usize, String)> {
    (0..REPORTED_MAX).map_while(|skipped| nth(body, skipped)).collect()
}

fn nth(body: &[u8], skipped: usize) -> Option<(usize, String)> {
    let mut search = Search { skipped, found: None };
    let text = utf_8(body);
    let document = serde_yaml_ng::Deserializer::from_slice(&text).next()?;
    let error = Walk { search: &mut search, text: &text, seen: None }.deserialize(document).err()?;
    let line = error.location().map_or(1, |at| at.line());
    search.found.map(|key| (line, key))
}

struct Search {
    /// How many duplicates to pass over.
    skipped: usize,
    found: Option<String>,
}

/// Looks at the members of a value. Those of a merge key belong to the mapping around it, whose names are `seen`.
struct Walk<'w, 't> {
    search: &'w mut Search,
    text: &'t [u8],
    seen: Option<&'w mut BTreeSet<String>>,
}

impl<'de> DeserializeSeed<'de> for Walk<'_, '_> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Walk<'_, '_> {
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

    fn visit_i128<E>(self, _: i128) -> Result<(), E> {
        Ok(())
    }

    fn visit_u128<E>(self, _: u128) -> Result<(), E> {
        Ok(())
    }

    fn visit_f64<E>(self, _: f64) -> Result<(), E> {
        Ok(())
    }

    fn visit_str<E>(self, _: &str) -> Result<(), E> {
        Ok(())
    }

    fn visit_seq<A: SeqAccess<'de>>(mut self, mut seq: A) -> Result<(), A::Error> {
        loop {
            let item = Walk { search: self.search, text: self.text, seen: self.seen.as_deref_mut() };
            if seq.next_element_seed(item)?.is_none() {
                return Ok(());
            }
        }
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<(), A::Error> {
        let Walk { search, text, seen } = self;
        let mut own = BTreeSet::new();
        let seen = seen.unwrap_or(&mut own);
        while let Some(merges) = map.next_key_seed(Key { seen: &mut *seen, search: &mut *search, text })? {
            let seen = merges.then_some(&mut *seen);
            map.next_value_seed(Walk { search: &mut *search, text, seen })?;
        }
        Ok(())
    }

    fn visit_enum<A: EnumAccess<'de>>(self, tagged: A) -> Result<(), A::Error> {
        let (_, content): (String, A::Variant) = tagged.variant()?;
        content.newtype_variant_seed(self)
    }
}

/// Reads the name of a member; the result is whether it is a merge key.
struct Key<'w, 't> {
    seen: &'w mut BTreeSet<String>,
    search: &'w mut Search,
    text: &'t [u8],
}

impl<'de> DeserializeSeed<'de> for Key<'_, '_> {
    type Value = bool;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<bool, D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl Key<'_, '_> {
    /// An error gets the position of the name, because it comes from its visitor.
    fn check<E: Error>(self, name: Result<Name, E>) -> Result<bool, E> {
        let name = match name? {
            Name::Member(name) => name,
            Name::Merge => return Ok(true),
            Name::Null | Name::Collection(_) => return Ok(false),
        };
        if !self.seen.contains(&name) {
            self.seen.insert(name);
            return Ok(false);
        }
        match self.search.skipped.checked_sub(1) {
            Some(left) => {
                self.search.skipped = left;
                Ok(false)
            }
            None => {
                self.search.found = Some(name);
                Err(E::custom("a member occurs twice"))
            }
        }
    }

    fn name(&self) -> NameVisitor<'_, 'static> {
        NameVisitor { text: self.text, reading: None }
    }
}

impl<'de> Visitor<'de> for Key<'_, '_> {
    type Value = bool;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a member's name")
    }

    fn visit_unit<E: Error>(self) -> Result<bool, E> {
        let name = self.name().visit_unit();
        self.check(name)
    }

    fn visit_borrowed_str<E: Error>(self, name: &'de str) -> Result<bool, E> {
        let name = self.name().visit_borrowed_str(name);
        self.check(name)
    }

    fn visit_str<E: Error>(self, name: &str) -> Result<bool, E> {
        let name = self.name().visit_str(name);
        self.check(name)
    }

    fn visit_bool<E: Error>(self, name: bool) -> Result<bool, E> {
        let name = self.name().visit_bool(name);
        self.check(name)
    }

    fn visit_i64<E: Error>(self, name: i64) -> Result<bool, E> {
        let name = self.name().visit_i64(name);
        self.check(name)
    }

    fn visit_u64<E: Error>(self, name: u64) -> Result<bool, E> {
        let name = self.name().visit_u64(name);
        self.check(name)
    }

    fn visit_i128<E: Error>(self, name: i128) -> Result<bool, E> {
        let name = self.name().visit_i128(name);
        self.check(name)
    }

    fn visit_u128<E: Error>(self, name: u128) -> Result<bool, E> {
        let name = self.name().visit_u128(name);
        self.check(name)
    }

    fn visit_f64<E: Error>(self, name: f64) -> Result<bool, E> {
        let name = self.name().visit_f64(name);
        self.check(name)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, seq: A) -> Result<bool, A::Error> {
        let name = self.name().visit_seq(seq);
        self.check(name)
    }

    fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<bool, A::Error> {
        let name = self.name().visit_map(map);
        self.check(name)
    }
}
