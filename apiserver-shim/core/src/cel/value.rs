//! Values of expressions. Values in JSON are borrowed, and converted when they are read.

use std::borrow::Cow;
use std::cmp::Ordering;
use std::fmt;
use std::sync::Arc;

use serde_json::{Map as JsonMap, Value as Json};
use shim_model::base64;
use shim_model::quantity::Quantity;

use super::functions::authorization::Access;
use super::functions::network::{Cidr, Ip};
use super::functions::semver::Semver;
use super::functions::url::Url;
use super::numbers::{go_duration, go_general, print_duration};
use super::types::{Type, unescape};

/// A constant in an expression.
#[derive(Clone, Debug)]
#[allow(missing_docs)]
pub(crate) enum Literal {
    Null,
    Bool(bool),
    Int(i64),
    Uint(u64),
    Double(f64),
    Text(Arc<str>),
    Bytes(Arc<[u8]>),
}

/// A value.
#[derive(Clone, Debug)]
#[allow(missing_docs)]
pub enum Val<'v> {
    Null,
    Bool(bool),
    Int(i64),
    Uint(u64),
    Double(f64),
    Text(Text<'v>),
    Bytes(Arc<[u8]>),
    /// Nanoseconds since 1970.
    Timestamp(i128),
    /// Nanoseconds.
    Duration(i64),
    List(List<'v>),
    Map(Map<'v>),
    Optional(Option<Arc<Val<'v>>>),
    TypeName(&'static str),
    Opaque(Opaque),
}

/// A text.
#[derive(Clone, Debug)]
#[allow(missing_docs)]
pub enum Text<'v> {
    Borrowed(&'v str),
    Shared(Arc<str>),
}

impl Text<'_> {
    /// The text.
    pub fn as_str(&self) -> &str {
        match self {
            Text::Borrowed(text) => text,
            Text::Shared(text) => text,
        }
    }
}

/// A list.
#[derive(Clone, Debug)]
#[allow(missing_docs)]
pub enum List<'v> {
    Json(&'v [Json], Type),
    Built(Arc<Built<Val<'v>>>),
}

/// A map or an object.
#[derive(Clone, Debug)]
#[allow(missing_docs)]
pub enum Map<'v> {
    Json(&'v JsonMap<String, Json>, Type),
    Built(Arc<Built<(Val<'v>, Val<'v>)>>),
}

/// The elements or entries that an expression made.
#[derive(Debug)]
pub struct Built<T> {
    all: Vec<T>,
    extent: Extent,
}

/// How much a walk through a value visits. What the value has of a request counts as one.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Extent {
    /// Lists, maps and optional values within each other.
    pub depth: u32,
    /// Values in it. One that is shared counts each time that it is reached.
    pub parts: u64,
}

impl Extent {
    const ONE: Extent = Extent { depth: 0, parts: 1 };

    fn around<'a, 'v: 'a>(parts: impl Iterator<Item = &'a Val<'v>>) -> Extent {
        let within = parts.map(Val::extent).fold(Extent::ONE, |sum, part| Extent {
            depth: sum.depth.max(part.depth),
            parts: sum.parts.saturating_add(part.parts),
        });
        Extent { depth: within.depth + 1, ..within }
    }
}

/// A value of a library's type.
#[derive(Clone, Debug, PartialEq)]
#[allow(missing_docs)]
pub enum Opaque {
    Quantity(Quantity),
    Url(Arc<Url>),
    Ip(Ip),
    Cidr(Cidr),
    Semver(Arc<Semver>),
    Format(&'static str),
    Access(Arc<Access>),
}

impl<'v> Val<'v> {
    /// A new text.
    pub fn text(text: impl Into<Arc<str>>) -> Val<'v> {
        Val::Text(Text::Shared(text.into()))
    }

    /// A new list.
    pub fn list(items: Vec<Val<'v>>) -> Val<'v> {
        let extent = Extent::around(items.iter());
        Val::List(List::Built(Arc::new(Built { all: items, extent })))
    }

    /// A new map.
    pub fn map(entries: Vec<(Val<'v>, Val<'v>)>) -> Val<'v> {
        let extent = Extent::around(entries.iter().flat_map(|(key, value)| [key, value]));
        Val::Map(Map::Built(Arc::new(Built { all: entries, extent })))
    }

    pub(super) fn extent(&self) -> Extent {
        let (mut around, mut of) = (0, self);
        while let Val::Optional(Some(value)) = of {
            (around, of) = (around + 1, value);
        }
        let extent = match of {
            Val::List(List::Built(built)) => built.extent,
            Val::Map(Map::Built(built)) => built.extent,
            _ => Extent::ONE,
        };
        Extent { depth: extent.depth + around, ..extent }
    }

    pub(super) fn of(literal: &Literal) -> Val<'v> {
        match literal {
            Literal::Null => Val::Null,
            Literal::Bool(value) => Val::Bool(*value),
            Literal::Int(value) => Val::Int(*value),
            Literal::Uint(value) => Val::Uint(*value),
            Literal::Double(value) => Val::Double(*value),
            Literal::Text(value) => Val::Text(Text::Shared(value.clone())),
            Literal::Bytes(value) => Val::Bytes(value.clone()),
        }
    }

    /// A value in JSON, by its type.
    pub fn of_json(json: &'v Json, ty: &Type) -> Val<'v> {
        match (json, ty) {
            (Json::Null, _) => Val::Null,
            (Json::Bool(value), _) => Val::Bool(*value),
            (Json::Number(number), ty) if *ty == Type::Double || *ty == Type::CLAIMS => {
                Val::Double(number.as_f64().unwrap_or(f64::NAN))
            }
            (Json::Number(number), _) => match number.as_i64() {
                Some(value) => Val::Int(value),
                None => Val::Double(number.as_f64().unwrap_or(f64::NAN)),
            },
            (Json::String(text), Type::Duration) => go_duration(text).map_or(Val::Null, Val::Duration),
            (Json::String(text), Type::Timestamp) => {
                super::functions::time::parse_timestamp(text).map_or(Val::Null, Val::Timestamp)
            }
            (Json::String(text), Type::Bytes) => {
                base64::decode(text).map_or(Val::Null, |bytes| Val::Bytes(bytes.into()))
            }
            (Json::String(text), _) => Val::Text(Text::Borrowed(text)),
            (Json::Array(items), ty) => {
                let item = match ty {
                    Type::List(item) => (**item).clone(),
                    ty if *ty == Type::CLAIMS => Type::CLAIMS,
                    _ => Type::Dyn,
                };
                Val::List(List::Json(items, item))
            }
            (Json::Object(members), ty) => Val::Map(Map::Json(members, ty.clone())),
        }
    }

    /// The name of the value's type.
    pub fn type_name(&self) -> &'static str {
        match self {
            Val::Null => "null_type",
            Val::Bool(_) => "bool",
            Val::Int(_) => "int",
            Val::Uint(_) => "uint",
            Val::Double(_) => "double",
            Val::Text(_) => "string",
            Val::Bytes(_) => "bytes",
            Val::Timestamp(_) => "google.protobuf.Timestamp",
            Val::Duration(_) => "google.protobuf.Duration",
            Val::List(_) => "list",
            Val::Map(_) => "map",
            Val::Optional(_) => "optional_type",
            Val::TypeName(_) => "type",
            Val::Opaque(Opaque::Quantity(_)) => "kubernetes.Quantity",
            Val::Opaque(Opaque::Url(_)) => "kubernetes.URL",
            Val::Opaque(Opaque::Ip(_)) => "net.IP",
            Val::Opaque(Opaque::Cidr(_)) => "net.CIDR",
            Val::Opaque(Opaque::Semver(_)) => "kubernetes.Semver",
            Val::Opaque(Opaque::Format(_)) => "kubernetes.NamedFormat",
            Val::Opaque(Opaque::Access(access)) => access.type_name(),
        }
    }

    /// The name of the value's type in upstream's code, which some errors show.
    pub(super) fn go_type_name(&self) -> &'static str {
        match self {
            Val::Null => "types.Null",
            Val::Bool(_) => "types.Bool",
            Val::Int(_) => "types.Int",
            Val::Uint(_) => "types.Uint",
            Val::Double(_) => "types.Double",
            Val::Text(_) => "types.String",
            Val::Bytes(_) => "types.Bytes",
            Val::Timestamp(_) => "types.Timestamp",
            Val::Duration(_) => "types.Duration",
            Val::Optional(_) => "*types.Optional",
            Val::TypeName(_) => "*types.Type",
            other => other.type_name(),
        }
    }

    /// The text, if it is one.
    pub fn as_text(&self) -> Option<&str> {
        if let Val::Text(text) = self { Some(text.as_str()) } else { None }
    }

    /// Units of data that reading the value costs.
    pub(super) fn size(&self) -> u64 {
        match self {
            Val::Text(text) => text.as_str().chars().count() as u64,
            Val::Bytes(bytes) => bytes.len() as u64,
            Val::List(list) => list.len() as u64,
            Val::Map(map) => map.len() as u64,
            _ => 1,
        }
    }

    /// The value as JSON; `None` if it has none.
    pub fn to_json(&self) -> Option<Json> {
        Some(match self {
            Val::Null => Json::Null,
            Val::Bool(value) => (*value).into(),
            Val::Int(value) => (*value).into(),
            Val::Uint(value) => (*value).into(),
            Val::Double(value) => (*value).into(),
            Val::Text(text) => text.as_str().into(),
            Val::Bytes(bytes) => base64::encode(bytes).into(),
            Val::Timestamp(at) => super::functions::time::print_timestamp(*at).into(),
            Val::Duration(value) => print_duration(*value).into(),
            Val::List(list) => Json::Array(list.iter().map(|v| v.to_json()).collect::<Option<_>>()?),
            Val::Map(Map::Json(members, _)) => Json::Object((*members).clone()),
            Val::Map(Map::Built(entries)) => {
                let entry =
                    |(key, value): &(Val<'_>, Val<'_>)| Some((key.as_text()?.to_owned(), value.to_json()?));
                Json::Object(entries.all.iter().map(entry).collect::<Option<_>>()?)
            }
            Val::Optional(Some(value)) => value.to_json()?,
            Val::Opaque(Opaque::Quantity(quantity)) => quantity.to_string().into(),
            _ => return None,
        })
    }
}

impl<'v> List<'v> {
    /// Number of elements.
    pub fn len(&self) -> usize {
        match self {
            List::Json(items, _) => items.len(),
            List::Built(items) => items.all.len(),
        }
    }

    /// Whether it has no elements.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The element at an index.
    pub fn get(&self, at: usize) -> Option<Val<'v>> {
        match self {
            List::Json(items, ty) => items.get(at).map(|item| Val::of_json(item, ty)),
            List::Built(items) => items.all.get(at).cloned(),
        }
    }

    /// The elements.
    pub fn iter(&self) -> impl Iterator<Item = Val<'v>> + '_ {
        (0..self.len()).filter_map(|at| self.get(at))
    }
}

impl<'v> Map<'v> {
    /// Number of entries.
    pub fn len(&self) -> usize {
        match self {
            Map::Json(members, _) => members.len(),
            Map::Built(entries) => entries.all.len(),
        }
    }

    /// Whether it has no entries.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The value of a field or key by name.
    pub fn field(&self, name: &str) -> Option<Val<'v>> {
        match self {
            Map::Json(members, Type::Object(object)) => {
                let field = object.field(name)?;
                Some(Val::of_json(members.get(&field.name)?, &field.ty))
            }
            Map::Json(members, ty) => {
                let unescaped = if *ty == Type::CLAIMS { unescape(name) } else { None };
                let found = members.get(unescaped.as_deref().unwrap_or(name))?;
                Some(Val::of_json(found, value_type(ty)))
            }
            Map::Built(entries) => {
                let found = entries.all.iter().find(|(key, _)| key.as_text() == Some(name));
                found.map(|(_, value)| value.clone())
            }
        }
    }

    /// Units that a look-up costs beside the call: one that an expression made is searched.
    pub(super) fn search_cost(&self) -> u64 {
        match self {
            Map::Json(..) => 0,
            Map::Built(entries) => (entries.all.len() / 10) as u64,
        }
    }

    /// The value of a key.
    pub fn get(&self, key: &Val<'_>) -> Option<Val<'v>> {
        match (self, key) {
            (_, Val::Text(name)) => self.field(name.as_str()),
            (Map::Built(entries), key) => {
                entries.all.iter().find(|(k, _)| equal(k, key)).map(|(_, value)| value.clone())
            }
            _ => None,
        }
    }

    /// The entries.
    pub fn iter(&self) -> Box<dyn Iterator<Item = (Val<'v>, Val<'v>)> + '_> {
        match self {
            Map::Json(members, ty) => Box::new(members.iter().map(|(key, value)| {
                (Val::Text(Text::Borrowed(key)), Val::of_json(value, member_type(ty, key)))
            })),
            Map::Built(entries) => Box::new(entries.all.iter().cloned()),
        }
    }
}

fn value_type(ty: &Type) -> &Type {
    match ty {
        Type::Map(entry) => &entry.1,
        ty if *ty == Type::CLAIMS => ty,
        _ => &Type::Dyn,
    }
}

fn member_type<'t>(ty: &'t Type, name: &str) -> &'t Type {
    match ty {
        Type::Object(object) => {
            let found = object.fields.values().find(|field| field.name == name);
            found.map_or(&Type::Dyn, |field| &field.ty)
        }
        other => value_type(other),
    }
}

/// Whether two values are equal. Numbers of different types are compared by value.
pub fn equal(a: &Val<'_>, b: &Val<'_>) -> bool {
    match (a, b) {
        (Val::Null, Val::Null) => true,
        (Val::Bool(a), Val::Bool(b)) => a == b,
        (Val::Text(a), Val::Text(b)) => a.as_str() == b.as_str(),
        (Val::Bytes(a), Val::Bytes(b)) => a == b,
        (Val::Timestamp(a), Val::Timestamp(b)) => a == b,
        (Val::Duration(a), Val::Duration(b)) => a == b,
        (Val::TypeName(a), Val::TypeName(b)) => a == b,
        (Val::Opaque(a), Val::Opaque(b)) => a == b,
        (Val::Optional(a), Val::Optional(b)) => match (a, b) {
            (Some(a), Some(b)) => equal(a, b),
            (a, b) => a.is_none() && b.is_none(),
        },
        (Val::List(a), Val::List(b)) => {
            a.len() == b.len() && a.iter().zip(b.iter()).all(|(a, b)| equal(&a, &b))
        }
        (Val::Map(a), Val::Map(b)) => {
            let same = |(key, value): (Val<'_>, Val<'_>)| {
                let other = match (b, &key) {
                    (Map::Json(members, ty), Val::Text(name)) => {
                        members.get(name.as_str()).map(|v| Val::of_json(v, member_type(ty, name.as_str())))
                    }
                    _ => b.get(&key),
                };
                other.is_some_and(|other| equal(&value, &other))
            };
            a.len() == b.len() && a.iter().all(same)
        }
        (a, b) => compare(a, b) == Some(Ordering::Equal),
    }
}

/// The order of two values, if they have one.
pub fn compare(a: &Val<'_>, b: &Val<'_>) -> Option<Ordering> {
    Some(match (a, b) {
        (Val::Int(a), Val::Int(b)) => a.cmp(b),
        (Val::Uint(a), Val::Uint(b)) => a.cmp(b),
        (Val::Int(a), Val::Uint(b)) => i128::from(*a).cmp(&i128::from(*b)),
        (Val::Uint(a), Val::Int(b)) => i128::from(*a).cmp(&i128::from(*b)),
        (Val::Double(a), Val::Double(b)) => return a.partial_cmp(b),
        (Val::Double(a), Val::Int(b)) => return a.partial_cmp(&(*b as f64)),
        (Val::Int(a), Val::Double(b)) => return (*a as f64).partial_cmp(b),
        (Val::Double(a), Val::Uint(b)) => return a.partial_cmp(&(*b as f64)),
        (Val::Uint(a), Val::Double(b)) => return (*a as f64).partial_cmp(b),
        (Val::Bool(a), Val::Bool(b)) => a.cmp(b),
        (Val::Text(a), Val::Text(b)) => a.as_str().cmp(b.as_str()),
        (Val::Bytes(a), Val::Bytes(b)) => a.cmp(b),
        (Val::Timestamp(a), Val::Timestamp(b)) => a.cmp(b),
        (Val::Duration(a), Val::Duration(b)) => a.cmp(b),
        _ => return None,
    })
}

/// The value as `string()` and `format` print it.
impl fmt::Display for Val<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let text: Cow<'_, str> = match self {
            Val::Null => "null".into(),
            Val::Bool(value) => value.to_string().into(),
            Val::Int(value) => value.to_string().into(),
            Val::Uint(value) => value.to_string().into(),
            Val::Double(value) => go_general(*value).into(),
            Val::Text(text) => text.as_str().into(),
            Val::Bytes(bytes) => String::from_utf8_lossy(bytes),
            Val::Timestamp(at) => super::functions::time::print_timestamp(*at).into(),
            Val::Duration(value) => format!("{}s", *value as f64 / 1e9).into(),
            Val::TypeName(name) => (*name).into(),
            Val::Opaque(Opaque::Quantity(quantity)) => quantity.to_string().into(),
            Val::Opaque(Opaque::Ip(ip)) => ip.0.to_string().into(),
            Val::Opaque(Opaque::Cidr(cidr)) => cidr.to_string().into(),
            Val::Opaque(Opaque::Semver(version)) => version.to_string().into(),
            Val::List(list) => {
                let items: Vec<String> = list.iter().map(|item| item.to_string()).collect();
                format!("[{}]", items.join(", ")).into()
            }
            Val::Map(map) => {
                let mut entries: Vec<String> =
                    map.iter().map(|(key, value)| format!("{key}: {value}")).collect();
                entries.sort();
                format!("{{{}}}", entries.join(", ")).into()
            }
            other => other.type_name().into(),
        };
        f.write_str(&text)
    }
}
