//! Named formats of texts.

use shim_model::names;

use super::{Found, opaque};
use crate::cel::eval::text;
use crate::cel::value::{Opaque, Val};
use crate::structural_schema::is_format;

const NAMES: [&str; 13] = [
    "dns1123Label",
    "dns1123Subdomain",
    "dns1035Label",
    "qualifiedName",
    "dns1123LabelPrefix",
    "dns1123SubdomainPrefix",
    "dns1035LabelPrefix",
    "labelValue",
    "uri",
    "uuid",
    "byte",
    "date",
    "datetime",
];

fn named(name: &str) -> Option<&'static str> {
    NAMES.into_iter().find(|known| *known == name)
}

pub(super) fn call<'v>(function: &str, all: &[Val<'v>]) -> Found<'v> {
    if let Some(name) = function.strip_prefix("format.").and_then(named) {
        return opaque(Opaque::Format(name));
    }
    match (function, all) {
        ("format.named", [name]) => {
            let found = named(text(name)?).map(|name| Val::Opaque(Opaque::Format(name)).into());
            Ok(Some(Val::Optional(found)))
        }
        ("validate", [Val::Opaque(Opaque::Format(format)), value]) => {
            let errors = errors(format, text(value)?);
            let list = Val::list(errors.iter().map(|error| Val::text(error.as_str())).collect());
            Ok(Some(Val::Optional((!errors.is_empty()).then(|| list.into()))))
        }
        _ => Ok(None),
    }
}

fn errors(format: &str, text: &str) -> Vec<String> {
    // A prefix may end in a dash, since a suffix follows.
    let prefix = || text.strip_suffix('-').map_or_else(|| text.to_owned(), |head| format!("{head}a"));
    let known = |ok: bool, why: &str| if ok { Vec::new() } else { vec![why.to_owned()] };
    match format {
        "dns1123Label" => names::dns_label(text),
        "dns1123Subdomain" => names::dns_subdomain(text),
        "dns1035Label" => names::dns_1035_label(text),
        "qualifiedName" => names::qualified(text),
        "dns1123LabelPrefix" => names::dns_label(&prefix()),
        "dns1123SubdomainPrefix" => names::dns_subdomain(&prefix()),
        "dns1035LabelPrefix" => names::dns_1035_label(&prefix()),
        "labelValue" => names::label_value(text),
        "uri" => known(is_format("uri", text), "invalid URI for request"),
        "uuid" => known(is_format("uuid", text), "does not match the UUID format"),
        "byte" => known(is_format("byte", text), "invalid base64"),
        "date" => known(is_format("date", text), "invalid date"),
        _ => known(is_format("datetime", text), "invalid datetime"),
    }
}
