//! RFC 6902 with the deviations of upstream's implementation: `replace` of a missing member adds it, `copy` from a
//! missing member gives null, and negative indexes count from the end.

use serde_json::Value;

/// The patch is malformed or does not apply to the object.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("json patch does not apply")]
pub struct PatchError;

/// Most members and elements that `copy` operations may add, so that a small patch cannot create a huge object.
const COPIES_MAX: usize = 10_000;
/// Most bytes that they may add: upstream's default of `JSONPatchMaxCopyBytes`.
const COPIED_BYTES_MAX: usize = 3 << 20;
/// Most levels of a result. serde_json reads no deeper text, so a deeper object could be stored and never be read.
const DEPTH_MAX: usize = 127;

/// Applies the operations in order. A failure leaves the target partly changed, so apply to a copy.
pub fn apply(target: &mut Value, operations: &[Value]) -> Result<(), PatchError> {
    let (mut copies, mut bytes) = (0, 0);
    for operation in operations {
        let text = |key: &str| operation.get(key).and_then(Value::as_str);
        let path = text("path").ok_or(PatchError)?;
        let value = || operation.get("value").cloned();
        match text("op").ok_or(PatchError)? {
            "add" => add(target, path, value().unwrap_or(Value::Null))?,
            "replace" => replace(target, path, value().unwrap_or(Value::Null))?,
            "remove" => {
                remove(target, path)?;
            }
            "move" => {
                let moved = remove(target, text("from").ok_or(PatchError)?)?;
                add(target, path, moved)?;
            }
            "copy" => {
                let copied = read(target, text("from").ok_or(PatchError)?)?.cloned().unwrap_or(Value::Null);
                copies += size(&copied);
                bytes += copied.to_string().len();
                if copies > COPIES_MAX || bytes > COPIED_BYTES_MAX {
                    return Err(PatchError);
                }
                add(target, path, copied)?;
            }
            "test" => test(target, path, operation.get("value"))?,
            _ => return Err(PatchError),
        }
    }
    Ok(())
}

fn size(value: &Value) -> usize {
    match value {
        Value::Array(items) => 1 + items.iter().map(size).sum::<usize>(),
        Value::Object(members) => 1 + members.values().map(size).sum::<usize>(),
        _ => 1,
    }
}

/// Levels of arrays and objects.
fn depth(value: &Value) -> usize {
    match value {
        Value::Array(items) => 1 + items.iter().map(depth).max().unwrap_or(0),
        Value::Object(members) => 1 + members.values().map(depth).max().unwrap_or(0),
        _ => 0,
    }
}

/// Refuses a value that would be too deep at a path.
fn check_depth(path: &str, value: &Value) -> Result<(), PatchError> {
    let levels = path.matches('/').count() + depth(value);
    if levels > DEPTH_MAX { Err(PatchError) } else { Ok(()) }
}

/// The steps of a JSON pointer. Text before the first slash is ignored.
fn steps(path: &str) -> Vec<String> {
    path.split('/').skip(1).map(|step| step.replace("~1", "/").replace("~0", "~")).collect()
}

fn position(step: &str, length: usize) -> Option<usize> {
    let index: i64 = step.parse().ok()?;
    let index = if index < 0 { index + length as i64 } else { index };
    usize::try_from(index).ok().filter(|i| *i < length)
}

fn child<'a>(at: &'a mut Value, step: &str) -> Option<&'a mut Value> {
    match at {
        Value::Object(members) => members.get_mut(step),
        Value::Array(items) => {
            let i = position(step, items.len())?;
            items.get_mut(i)
        }
        _ => None,
    }
}

fn parent<'a>(target: &'a mut Value, path: &str) -> Result<(&'a mut Value, String), PatchError> {
    let mut steps = steps(path);
    let last = steps.pop().ok_or(PatchError)?;
    let mut at = target;
    for step in &steps {
        at = child(at, step).ok_or(PatchError)?;
    }
    Ok((at, last))
}

fn read<'a>(target: &'a mut Value, path: &str) -> Result<Option<&'a Value>, PatchError> {
    if path.is_empty() {
        return Ok(Some(target));
    }
    let (at, last) = parent(target, path)?;
    match at {
        Value::Object(members) => Ok(members.get(&last)),
        Value::Array(items) => position(&last, items.len()).map(|i| Some(&items[i])).ok_or(PatchError),
        _ => Err(PatchError),
    }
}

fn add(target: &mut Value, path: &str, value: Value) -> Result<(), PatchError> {
    check_depth(path, &value)?;
    if path.is_empty() {
        *target = value;
        return Ok(());
    }
    let (at, last) = parent(target, path)?;
    match at {
        Value::Object(members) => {
            members.insert(last, value);
        }
        Value::Array(items) if last == "-" => items.push(value),
        Value::Array(items) => {
            // `add` accepts the index behind the last element; a negative index counts from there.
            let i = position(&last, items.len() + 1).ok_or(PatchError)?;
            items.insert(i, value);
        }
        _ => return Err(PatchError),
    }
    Ok(())
}

fn replace(target: &mut Value, path: &str, value: Value) -> Result<(), PatchError> {
    check_depth(path, &value)?;
    if path.is_empty() {
        *target = value;
        return Ok(());
    }
    let (at, last) = parent(target, path)?;
    match at {
        Value::Object(members) => {
            members.insert(last, value);
        }
        Value::Array(items) => {
            let i = position(&last, items.len()).ok_or(PatchError)?;
            items[i] = value;
        }
        _ => return Err(PatchError),
    }
    Ok(())
}

fn remove(target: &mut Value, path: &str) -> Result<Value, PatchError> {
    let (at, last) = parent(target, path)?;
    match at {
        Value::Object(members) => members.remove(&last).ok_or(PatchError),
        Value::Array(items) => position(&last, items.len()).map(|i| items.remove(i)).ok_or(PatchError),
        _ => Err(PatchError),
    }
}

fn test(target: &mut Value, path: &str, wanted: Option<&Value>) -> Result<(), PatchError> {
    let found = read(target, path)?.filter(|v| !v.is_null());
    let wanted = wanted.filter(|v| !v.is_null());
    if found == wanted { Ok(()) } else { Err(PatchError) }
}
