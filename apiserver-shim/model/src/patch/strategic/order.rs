//! The order of merged lists: elements of the patch keep the patch's order, all others keep the server's order, and
//! both are interleaved by their positions on the server.

use super::{Done, PATCH, StrategicError};
use crate::patch::go_print::print;
use serde_json::Value;

/// The merge key of an element.
pub(super) fn require_key<'v>(element: &'v Value, key: &str) -> Done<&'v Value> {
    if !element.is_object() {
        return Err(StrategicError::not_an_object(element));
    }
    element.get(key).ok_or_else(|| StrategicError::no_merge_key(element, key))
}

fn same(a: &Value, b: &Value, key: &str) -> bool {
    if key.is_empty() { a == b } else { a.get(key) == b.get(key) }
}

fn position(items: &[Value], wanted: &Value, key: &str) -> Option<usize> {
    items.iter().position(|item| same(item, wanted, key))
}

/// Splits the elements into those that `named` contains and the others.
pub(super) fn partition(items: Vec<Value>, named: &[Value], key: &str) -> Done<(Vec<Value>, Vec<Value>)> {
    if !key.is_empty() {
        items.iter().try_for_each(|item| require_key(item, key).map(drop))?;
        if let Some(at) = named.iter().position(|n| !n.is_object()).filter(|_| !items.is_empty()) {
            return Err(StrategicError::NotAMap(at));
        }
    }
    Ok(items.into_iter().partition(|item| position(named, item, key).is_some()))
}

/// Interleaves both lists, in the order described above.
pub(super) fn normalise(
    mine: Vec<Value>,
    theirs: Vec<Value>,
    patch_order: &[Value],
    server_order: &[Value],
    key: &str,
) -> Done<Vec<Value>> {
    let mine = sorted(mine, patch_order, key)?;
    let theirs = sorted(theirs, server_order, key)?;
    let mut out = Vec::with_capacity(mine.len() + theirs.len());
    let (mut mine, mut theirs) = (mine.into_iter().peekable(), theirs.into_iter().peekable());
    loop {
        let server_first = match (theirs.peek(), mine.peek()) {
            (None, None) => return Ok(out),
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

/// Sorts by the position in `order`. Elements that it does not have go to the front, the last one first, and those
/// that are to be deleted go to the end: the results of upstream's comparison.
fn sorted(items: Vec<Value>, order: &[Value], key: &str) -> Done<Vec<Value>> {
    let mut deleted = Vec::new();
    let mut out: Vec<Value> = Vec::with_capacity(items.len());
    if !key.is_empty() {
        items.iter().chain(order).try_for_each(|item| require_key(item, key).map(drop))?;
    }
    for item in items {
        if !key.is_empty() && item.get(PATCH).is_some_and(|d| d == "delete") {
            deleted.push(item);
            continue;
        }
        let mine = position(order, &item, key);
        let precedes = |other: &Value| match (mine, position(order, other, key)) {
            (Some(mine), Some(other)) => mine < other,
            _ => true,
        };
        let at = out.iter().rposition(|other| !precedes(other)).map_or(0, |last| last + 1);
        out.insert(at, item);
    }
    out.append(&mut deleted);
    Ok(out)
}

/// Checks that `$setElementOrder` contains all elements of the patch, in the same order.
pub(super) fn check(patch: &[Value], order: &[Value], key: &str) -> Done {
    if patch.is_empty() || order.is_empty() {
        return Ok(());
    }
    let mut rest = order.iter();
    if !key.is_empty()
        && let Some(other) = patch.iter().find(|e| !e.is_object())
    {
        return Err(StrategicError::not_an_object(other));
    }
    for element in patch.iter().filter(|e| e.get(PATCH).is_none()) {
        loop {
            let Some(next) = rest.next() else {
                let shown = |items: &[Value]| print(&Value::Array(items.to_vec()));
                return Err(StrategicError::Order(shown(patch), shown(order)));
            };
            if !key.is_empty() {
                require_key(element, key)?;
                require_key(next, key)?;
            }
            if same(element, next, key) {
                break;
            }
        }
    }
    Ok(())
}
