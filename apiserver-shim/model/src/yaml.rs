//! Writes JSON values as YAML like upstream's encoder: members in natural order, lists not indented below their names, and
//! each text in the style that upstream chooses.

use std::fmt::Write;

use serde_json::Value;

mod order;
mod text;

use order::{natural, sort_tolerant};

/// Writes a value as a document.
pub fn to_string(value: &Value) -> String {
    let mut out = String::new();
    node(&mut out, value, 0);
    out
}

fn indent(out: &mut String, depth: usize) {
    out.extend(std::iter::repeat_n(' ', depth));
}

/// Writes a value and ends its line. It begins on the current line, and has `depth` spaces before its further lines.
fn node(out: &mut String, value: &Value, depth: usize) {
    match value {
        Value::Object(members) if !members.is_empty() => return mapping(out, value, depth),
        Value::Array(items) if !items.is_empty() => return sequence(out, items, depth),
        // Texts are indented at the top level as well: an unindented line may read as a document marker.
        Value::String(content) => text::value(out, content, depth.max(2)),
        Value::Array(_) => out.push_str("[]"),
        Value::Object(_) => out.push_str("{}"),
        other => _ = write!(out, "{other}"),
    }
    out.push('\n');
}

fn mapping(out: &mut String, value: &Value, depth: usize) {
    let mut members: Vec<_> = value.as_object().into_iter().flatten().collect();
    sort_tolerant(&mut members, |a, b| natural(a.0, b.0));
    for (i, (name, member)) in members.into_iter().enumerate() {
        if i > 0 {
            indent(out, depth);
        }
        if !text::is_simple_key(name) {
            out.push_str("? ");
            text::value(out, name, depth + 2);
            out.push('\n');
            indent(out, depth);
            out.push_str(": ");
            node(out, member, depth + 2);
            continue;
        }
        text::simple_key(out, name);
        out.push(':');
        let within = match member {
            Value::Object(inner) if !inner.is_empty() => depth + 2,
            // A list is not indented below its name.
            Value::Array(inner) if !inner.is_empty() => depth,
            scalar => {
                out.push(' ');
                node(out, scalar, depth + 2);
                continue;
            }
        };
        out.push('\n');
        indent(out, within);
        node(out, member, within);
    }
}

fn sequence(out: &mut String, items: &[Value], depth: usize) {
    for (i, item) in items.iter().enumerate() {
        if i > 0 {
            indent(out, depth);
        }
        out.push_str("- ");
        node(out, item, depth + 2);
    }
}

#[cfg(test)]
mod tests;
