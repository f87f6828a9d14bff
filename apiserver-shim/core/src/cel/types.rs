//! Types of expressions.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

/// Parts of the type of an expression.
const PARTS_MAX: usize = 256;

/// The type of an expression or value.
#[derive(Clone, Debug, PartialEq)]
#[allow(missing_docs)]
pub enum Type {
    /// Checked when it is evaluated.
    Dyn,
    /// The type of what has an error.
    Error,
    Null,
    Bool,
    Int,
    Uint,
    Double,
    String,
    Bytes,
    Timestamp,
    Duration,
    /// The type of types.
    Type,
    List(Arc<Type>),
    Map(Arc<(Type, Type)>),
    Optional(Arc<Type>),
    Object(Arc<Object>),
    /// A type of a library, such as `kubernetes.Quantity`.
    Opaque(&'static str),
    /// A type parameter of a function.
    Param(u8),
}

/// A type with named fields.
#[derive(Debug, PartialEq)]
pub struct Object {
    /// The name in messages.
    pub name: String,
    /// The fields, by their names in expressions.
    pub fields: BTreeMap<String, Field>,
    /// Whether it has any fields, of any types.
    pub open: bool,
}

impl Object {
    /// A field by its name. A word that expressions cannot use as a name may be used for a field.
    pub(super) fn field(&self, name: &str) -> Option<&Field> {
        let reserved = || is_reserved(name).then(|| self.fields.get(&escape(name))).flatten();
        self.fields.get(name).or_else(reserved)
    }
}

/// A field of an object.
#[derive(Clone, Debug, PartialEq)]
pub struct Field {
    /// The name in JSON.
    pub name: String,
    /// The type.
    pub ty: Type,
}

impl Type {
    /// The type of the claims of a token, and of the values in them, when they are evaluated: names may be escaped as in
    /// [`escape`], and numbers are floating-point, as Go decodes them.
    pub const CLAIMS: Type = Type::Opaque("claims");

    /// A list.
    pub fn list(item: Type) -> Type {
        Type::List(Arc::new(item))
    }

    /// A map.
    pub fn map(key: Type, value: Type) -> Type {
        Type::Map(Arc::new((key, value)))
    }

    /// An optional value.
    pub fn optional(of: Type) -> Type {
        Type::Optional(Arc::new(of))
    }

    /// An object whose fields have the same names in expressions and in JSON.
    pub fn object(name: &str, fields: &[(&str, Type)]) -> Type {
        Self::object_as(name, fields, str::to_owned)
    }

    /// An object whose fields have names in expressions that are made of those in JSON.
    pub fn object_as(name: &str, fields: &[(&str, Type)], named: fn(&str) -> String) -> Type {
        let field =
            |(name, ty): &(&str, Type)| (named(name), Field { name: (*name).to_owned(), ty: ty.clone() });
        let fields = fields.iter().map(field).collect();
        Type::Object(Arc::new(Object { name: name.to_owned(), fields, open: false }))
    }

    /// The type of `authorizer`.
    pub(crate) const AUTHORIZER: Type = Type::Opaque("kubernetes.authorization.Authorizer");
    /// The type of `authorizer.requestResource`.
    pub(crate) const RESOURCE_CHECK: Type = Type::Opaque("kubernetes.authorization.ResourceCheck");

    /// The type of the elements of an empty list: any that the expression around it wants.
    pub(super) const FREE: Type = Type::Param(u8::MAX);

    /// The type without parts that anything could be.
    pub(super) fn settled(&self) -> Type {
        match self {
            Type::Param(_) | Type::Error => Type::Dyn,
            Type::List(item) => Type::list(item.settled()),
            Type::Optional(of) => Type::optional(of.settled()),
            Type::Map(entry) => Type::map(entry.0.settled(), entry.1.settled()),
            other => other.clone(),
        }
    }

    /// The type, or any if it has too many parts. Those of a map of maps may double with each step.
    pub(super) fn bounded(self) -> Type {
        if self.fits(&mut PARTS_MAX.clone()) { self } else { Type::Dyn }
    }

    fn fits(&self, left: &mut usize) -> bool {
        let Some(rest) = left.checked_sub(1) else { return false };
        *left = rest;
        match self {
            Type::List(of) | Type::Optional(of) => of.fits(left),
            Type::Map(entry) => entry.0.fits(left) && entry.1.fits(left),
            _ => true,
        }
    }

    /// The name of the type without those of its parts.
    pub(super) fn type_name(&self) -> String {
        match self {
            Type::Null => "null_type".to_owned(),
            Type::Timestamp => "google.protobuf.Timestamp".to_owned(),
            Type::Duration => "google.protobuf.Duration".to_owned(),
            Type::List(_) => "list".to_owned(),
            Type::Map(_) => "map".to_owned(),
            Type::Optional(_) => "optional_type".to_owned(),
            other => other.to_string(),
        }
    }

    /// An object with any fields.
    pub fn open_object(name: &str) -> Type {
        Type::Object(Arc::new(Object { name: name.to_owned(), fields: BTreeMap::new(), open: true }))
    }

    /// Whether values may have any type.
    pub fn is_dyn(&self) -> bool {
        matches!(self, Type::Dyn)
    }

    fn is_numeric(&self) -> bool {
        matches!(self, Type::Int | Type::Uint | Type::Double)
    }

    /// Whether two values may be compared.
    pub fn is_comparable(&self, other: &Type) -> bool {
        self.is_numeric() && other.is_numeric()
    }
}

impl fmt::Display for Type {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Type::Dyn => f.write_str("dyn"),
            Type::Error => f.write_str("!error!"),
            Type::Null => f.write_str("null"),
            Type::Bool => f.write_str("bool"),
            Type::Int => f.write_str("int"),
            Type::Uint => f.write_str("uint"),
            Type::Double => f.write_str("double"),
            Type::String => f.write_str("string"),
            Type::Bytes => f.write_str("bytes"),
            Type::Timestamp => f.write_str("timestamp"),
            Type::Duration => f.write_str("duration"),
            Type::Type => f.write_str("type"),
            Type::List(item) => write!(f, "list({item})"),
            Type::Map(entry) => write!(f, "map({}, {})", entry.0, entry.1),
            Type::Optional(of) => write!(f, "optional_type({of})"),
            Type::Object(object) => f.write_str(&object.name),
            Type::Opaque(name) => f.write_str(name),
            // As upstream's checker prints a type that nothing has settled.
            &Type::FREE => f.write_str("dyn"),
            Type::Param(at) => write!(f, "{}", char::from(b'A'.saturating_add(*at))),
        }
    }
}

/// Whether expressions cannot use the name as an identifier.
pub(crate) fn is_reserved(name: &str) -> bool {
    RESERVED.contains(&name)
}

/// Names that expressions cannot use as identifiers.
const RESERVED: [&str; 21] = [
    "true",
    "false",
    "null",
    "in",
    "as",
    "break",
    "const",
    "continue",
    "else",
    "for",
    "function",
    "if",
    "import",
    "let",
    "loop",
    "package",
    "namespace",
    "return",
    "var",
    "void",
    "while",
];

/// A property's name as expressions write it: characters that identifiers cannot have are spelled out.
pub fn escape(name: &str) -> String {
    if is_reserved(name) {
        return format!("__{name}__");
    }
    let mut out = String::with_capacity(name.len());
    let mut rest = name;
    while let Some(c) = rest.chars().next() {
        if rest.starts_with("__") {
            out.push_str("__underscores__");
            rest = &rest[2..];
            continue;
        }
        match c {
            '.' => out.push_str("__dot__"),
            '-' => out.push_str("__dash__"),
            '/' => out.push_str("__slash__"),
            c => out.push(c),
        }
        rest = &rest[c.len_utf8()..];
    }
    out
}

/// The name that [`escape`] spells like this; `None` for names that spell themselves.
pub(super) fn unescape(escaped: &str) -> Option<String> {
    if let Some(reserved) = escaped.strip_prefix("__").and_then(|rest| rest.strip_suffix("__"))
        && is_reserved(reserved)
    {
        return Some(reserved.to_owned());
    }
    const SPELLED: [(&str, &str); 4] =
        [("__underscores__", "__"), ("__dot__", "."), ("__dash__", "-"), ("__slash__", "/")];
    let mut out = String::new();
    let mut rest = escaped;
    while let Some(at) = rest.find("__") {
        let (spelled, plain) = SPELLED.iter().find(|(spelled, _)| rest[at..].starts_with(spelled))?;
        out.push_str(&rest[..at]);
        out.push_str(plain);
        rest = &rest[at + spelled.len()..];
    }
    out.push_str(rest);
    (out != escaped).then_some(out)
}

/// Whether a property's name can be spelled in expressions.
pub fn is_escapable(name: &str) -> bool {
    let mut chars = name.chars();
    chars.next().is_some_and(|c| c.is_ascii_alphabetic() || c == '_')
        && chars.all(|c| c.is_ascii_alphanumeric() || "_.-/".contains(c))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_escaped_is_unescaped() {
        for name in ["a.b", "a-b/c", "a__b", "if", "while", "a__dot__b", "plain", ""] {
            let escaped = escape(name);
            assert_eq!(unescape(&escaped).unwrap_or(escaped), name);
        }
        assert_eq!((unescape("a__b"), unescape("__other__")), (None, None));
    }
}
