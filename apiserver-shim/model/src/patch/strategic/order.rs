//! The order of merged lists: elements of the patch keep the patch's order, all others keep the server's order, and
//! both are interleaved by their positions on the server.

use super::{Done, PATCH, StrategicError};
use crate::patch::go_print::print;
use serde_json::Value;

fn same(a: &Value, b: &Value, key: &str) -> bool {
    if key.is_empty() { a == b } else { a.get(key) == b.get(key) }
}

fn position(items: &[Value], wanted: &Value, key: &str) -> Option<usize> {
    items.iter().position(|item| same(item, wanted, key))
}

/// Splits the elements into those that `named` contains and the others.
pub(super) fn partition(items: Vec<Value>, named: &[Value], key: &str) -> (Vec<Value>, Vec<Value>) {
    items.into_iter().partition(|item| position(named, item, key).is_some())
}

/// Interleaves both lists, in the order described above.
pub(super) fn normalise(
    mut mine: Vec<Value>,
    mut theirs: Vec<Value>,
    patch_order: &[Value],
    server_order: &[Value],
    key: &str,
) -> Vec<Value> {
    mine.sort_by_key(|item| position(patch_order, item, key));
    theirs.sort_by_key(|item| position(server_order, item, key));
    let mut out = Vec::with_capacity(mine.len() + theirs.len());
    let (mut mine, mut theirs) = (mine.into_iter().peekable(), theirs.into_iter().peekable());
    loop {
        let server_first = match (theirs.peek(), mine.peek()) {
            (None, None) => return out,
            (Some(_), None) => true,
            (None, Some(_)) => false,
            (Some(t), Some(m)) => {
                let (t, m) = (position(server_order, t, key), position(server_order, m, key));
                t.is_some() && m.is_some() && t < m
            }
        };
        out.extend(if server_first { theirs.next() } else { mine.next() });
    }
}

/// Checks that `$setElementOrder` contains all elements of the patch, in the same order.
pub(super) fn check(patch: &[Value], order: &[Value], key: &str) -> Done {
    let mut last = None;
    for element in patch.iter().filter(|e| e.get(PATCH).is_none_or(|d| d != "delete")) {
        let at = position(order, element, key);
        if at.is_none() || at < last {
            let shown = |items: &[Value]| print(&Value::Array(items.to_vec()));
            return Err(StrategicError::Order(shown(patch), shown(order)));
        }
        last = at;
    }
    Ok(())
}
