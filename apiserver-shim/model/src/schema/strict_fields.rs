//! Lists the unknown and the duplicate members of a JSON body of a typed object in the order of the document, each once, as
//! upstream's strict decoder reports them. What is unknown is not looked into. Runs only if something was found.

use super::strict_json::Path;
use super::{ObjectType, Schema, Struct, Type};
use serde::de::{DeserializeSeed, Deserializer, IgnoredAny, MapAccess, SeqAccess, Visitor};
use std::collections::BTreeSet;
use std::fmt;

/// Most complaints that are listed, as upstream.
const LISTED_MAX: usize = 100;

/// The complaints; `None` if the body is not plain JSON.
pub(super) fn find(body: &[u8], ty: &ObjectType) -> Option<Vec<String>> {
    let mut found = Found::default();
    let mut deserializer = serde_json::Deserializer::from_slice(body);
    let root =
        Walk { schema: ty.schema(), ty: Type::Struct(ty.root()), path: &Path::ROOT, found: &mut found };
    root.deserialize(&mut deserializer).ok()?;
    Some(found.listed)
}

#[derive(Default)]
struct Found {
    listed: Vec<String>,
    known: BTreeSet<String>,
}

impl Found {
    fn add(&mut self, complaint: String) {
        if self.listed.len() < LISTED_MAX && self.known.insert(complaint.clone()) {
            self.listed.push(complaint);
        }
    }
}

struct Walk<'a, 'f> {
    schema: &'a Schema,
    ty: Type,
    path: &'a Path<'a>,
    found: &'f mut Found,
}

impl<'de> DeserializeSeed<'de> for Walk<'_, '_> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        match self.ty {
            Type::Struct(_) | Type::List(_) | Type::Map(_) => deserializer.deserialize_any(self),
            // Any JSON is decoded later, by whoever knows its type.
            _ => deserializer.deserialize_ignored_any(IgnoredAny).map(drop),
        }
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
        let Walk { schema, ty, path, found } = self;
        let ty = match ty {
            Type::List(item) => schema.item(item),
            _ => Type::Any,
        };
        for index in 0.. {
            let path = path.index(index);
            if seq.next_element_seed(Walk { schema, ty, path: &path, found })?.is_none() {
                break;
            }
        }
        Ok(())
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<(), A::Error> {
        let Walk { schema, ty, path, found } = self;
        let owner = match ty {
            Type::Struct(id) => Some(schema.at(id)),
            _ => None,
        };
        let mut seen = BTreeSet::new();
        while let Some(key) = map.next_key::<String>()? {
            let place = path.key(&key);
            match member(schema, owner, ty, &key) {
                None => {
                    found.add(format!("unknown field \"{place}\""));
                    map.next_value::<IgnoredAny>()?;
                }
                Some(ty) => {
                    if seen.contains(&key) {
                        found.add(format!("duplicate field \"{place}\""));
                    }
                    map.next_value_seed(Walk { schema, ty, path: &place, found })?;
                    seen.insert(key);
                }
            }
        }
        Ok(())
    }
}

/// The type of a member; `None` if it is unknown.
fn member(schema: &Schema, owner: Option<&Struct>, ty: Type, key: &str) -> Option<Type> {
    match (owner, ty) {
        (Some(owner), _) => owner.field(key).map(|field| field.ty),
        (None, Type::Map(item)) => Some(schema.item(item)),
        (None, _) => Some(Type::Any),
    }
}
