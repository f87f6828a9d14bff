//! A protobuf message in encoding. The encoders of documents are written by hand, because they write these documents only and
//! nothing is decoded.

use serde_json::{Map, Value};

use crate::protobuf::{Wire, write_bytes, write_tag, write_varint};

/// A message in encoding.
#[derive(Default)]
pub(super) struct Message(Vec<u8>);

impl Message {
    pub(super) fn bytes(&mut self, field: u32, bytes: &[u8]) {
        write_bytes(&mut self.0, field, bytes);
    }

    /// Writes a string; an empty one is omitted.
    pub(super) fn text(&mut self, field: u32, text: &Value) {
        if let Some(text) = text.as_str().filter(|t| !t.is_empty()) {
            self.bytes(field, text.as_bytes());
        }
    }

    pub(super) fn texts(&mut self, field: u32, list: &Value) {
        list.as_array().into_iter().flatten().for_each(|text| self.text(field, text));
    }

    pub(super) fn flag(&mut self, field: u32, flag: &Value) {
        if flag == &Value::Bool(true) {
            write_tag(&mut self.0, field, Wire::Varint);
            write_varint(&mut self.0, 1);
        }
    }

    /// Writes a number as a double or an integer; zero is omitted.
    pub(super) fn number(&mut self, field: u32, number: &Value, is_double: bool) {
        let Some(number) = number.as_f64().filter(|n| *n != 0.0) else { return };
        if is_double {
            write_tag(&mut self.0, field, Wire::Fixed64);
            self.0.extend_from_slice(&number.to_le_bytes());
        } else {
            write_tag(&mut self.0, field, Wire::Varint);
            write_varint(&mut self.0, number as i64 as u64);
        }
    }

    /// Writes any value as YAML, which JSON is.
    pub(super) fn any(&mut self, field: u32, value: &Value) {
        if !value.is_null() {
            self.message(field, |any| any.bytes(2, value.to_string().as_bytes()));
        }
    }

    pub(super) fn message(&mut self, field: u32, write: impl FnOnce(&mut Message)) {
        let mut inner = Message::default();
        write(&mut inner);
        self.bytes(field, &inner.0);
    }

    /// Writes a map as in upstream's messages: a list of named values.
    pub(super) fn named(
        &mut self,
        field: u32,
        map: &Map<String, Value>,
        write: impl Fn(&mut Message, &Value),
    ) {
        for (name, value) in map {
            self.message(field, |pair| {
                pair.bytes(1, name.as_bytes());
                pair.message(2, |inner| write(inner, value));
            });
        }
    }

    /// Writes the members with names `x-…`, each as YAML (which JSON is).
    pub(super) fn extensions(&mut self, field: u32, of: &Value) {
        let all = of.as_object().into_iter().flatten().filter(|(name, _)| name.starts_with("x-"));
        let all: Map<String, Value> = all.map(|(name, value)| (name.clone(), value.clone())).collect();
        self.named(field, &all, |any, value| any.bytes(2, value.to_string().as_bytes()));
    }

    /// Writes the keywords of a schema that bound values. Both versions have them in the same order, from `first` on.
    pub(super) fn bounds(&mut self, first: u32, of: &Value) {
        let keywords = [
            ("multipleOf", Bound::Double),
            ("maximum", Bound::Double),
            ("exclusiveMaximum", Bound::Flag),
            ("minimum", Bound::Double),
            ("exclusiveMinimum", Bound::Flag),
            ("maxLength", Bound::Integer),
            ("minLength", Bound::Integer),
            ("pattern", Bound::Text),
            ("maxItems", Bound::Integer),
            ("minItems", Bound::Integer),
            ("uniqueItems", Bound::Flag),
            ("maxProperties", Bound::Integer),
            ("minProperties", Bound::Integer),
        ];
        for (field, (keyword, bound)) in (first..).zip(keywords) {
            match bound {
                Bound::Double => self.number(field, &of[keyword], true),
                Bound::Integer => self.number(field, &of[keyword], false),
                Bound::Flag => self.flag(field, &of[keyword]),
                Bound::Text => self.text(field, &of[keyword]),
            }
        }
    }

    /// Writes the value that stands for a missing one in v3: a number, a boolean or a text. Others have no form there, and an
    /// empty message says that there is one.
    pub(super) fn scalar(&mut self, field: u32, value: &Value) {
        if value.is_null() {
            return;
        }
        self.message(field, |inner| match value {
            Value::Number(number) => {
                write_tag(&mut inner.0, 1, Wire::Fixed64);
                inner.0.extend_from_slice(&number.as_f64().unwrap_or_default().to_le_bytes());
            }
            Value::Bool(flag) => {
                write_tag(&mut inner.0, 2, Wire::Varint);
                write_varint(&mut inner.0, u64::from(*flag));
            }
            Value::String(text) => inner.bytes(3, text.as_bytes()),
            _ => {}
        });
    }

    /// The encoded message.
    pub(super) fn into_bytes(self) -> Vec<u8> {
        self.0
    }
}

enum Bound {
    Double,
    Integer,
    Flag,
    Text,
}
