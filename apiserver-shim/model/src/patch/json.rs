//! RFC 6902 with the deviations of upstream's implementation: `replace` of a missing member adds it, `copy` from a
//! missing member gives null, and negative indexes count from the end.

use crate::go_quote::Quoted;
use serde_json::Value;

/// Why a patch does not apply, in the words of upstream's implementation.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum PatchError {
    /// An operation is malformed, or names something that the object does not have.
    #[error("{0}")]
    DoesNotApply(String),
    /// A `test` found another value at this path.
    #[error("testing value {0} failed: test failed")]
    TestFailed(String),
    /// The result would be too large or too deep.
    #[error("the patch makes the object too large")]
    TooLarge,
}

fn fails(why: impl Into<String>) -> PatchError {
    PatchError::DoesNotApply(why.into())
}

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
        let op = text("op").unwrap_or("unknown");
        let path = || {
            let missing = match op {
                "add" | "remove" | "copy" => "missing value",
                _ => "operation missing path field: missing value",
            };
            text("path").ok_or_else(|| fails(format!("{op} operation failed to decode path: {missing}")))
        };
        let from = || {
            let missing = "operation, missing from field: missing value";
            text("from").ok_or_else(|| fails(format!("{op} operation failed to decode from: {missing}")))
        };
        let value = || operation.get("value").cloned().unwrap_or(Value::Null);
        match op {
            "add" => add(target, path()?, value())?,
            "replace" => replace(target, path()?, value())?,
            "remove" => remove(target, path()?)?,
            "move" => relocate(target, from()?, path)?,
            "copy" => {
                let copied = copied(target, from()?)?;
                let path = path()?;
                copies += size(&copied);
                bytes += copied.to_string().len();
                if copies > COPIES_MAX || bytes > COPIED_BYTES_MAX {
                    return Err(PatchError::TooLarge);
                }
                check_depth(path, &copied)?;
                let (at, last) = parent(target, path).ok_or_else(|| {
                    fails(format!("copy operation does not apply: doc is missing destination path: {path}: missing value"))
                })?;
                insert(at, last, copied)
                    .map_err(|why| fails(format!("error while adding value during copy: {why}")))?;
            }
            "test" => test(target, path()?, operation.get("value"))?,
            other => return Err(fails(format!("Unexpected kind: {other}"))),
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
    if levels > DEPTH_MAX { Err(PatchError::TooLarge) } else { Ok(()) }
}

/// The steps of a JSON pointer. Text before the first slash is ignored.
fn steps(path: &str) -> Vec<String> {
    path.split('/').skip(1).map(|step| step.replace("~1", "/").replace("~0", "~")).collect()
}

/// The index that a step names in a list of `length` elements.
fn position(step: &str, length: usize) -> Result<usize, String> {
    let index: i64 = step
        .parse()
        .map_err(|_| format!("strconv.Atoi: parsing {step}: invalid syntax", step = Quoted(step)))?;
    let from_end = if index < 0 { index + length as i64 } else { index };
    let found = usize::try_from(from_end).ok().filter(|i| *i < length);
    found.ok_or_else(|| format!("Unable to access invalid index: {index}: invalid index referenced"))
}

fn child<'a>(at: &'a mut Value, step: &str) -> Option<&'a mut Value> {
    match at {
        Value::Object(members) => members.get_mut(step),
        Value::Array(items) => {
            let i = position(step, items.len()).ok()?;
            items.get_mut(i)
        }
        _ => None,
    }
}

/// The list or object that has what a path names, and the last step.
fn parent<'a>(target: &'a mut Value, path: &str) -> Option<(&'a mut Value, String)> {
    let mut steps = steps(path);
    let last = steps.pop()?;
    let mut at = target;
    for step in &steps {
        at = child(at, step)?;
    }
    (at.is_object() || at.is_array()).then_some((at, last))
}

/// What a list or object has at a step; a missing member is null.
fn member(at: &Value, step: &str) -> Result<Value, String> {
    match at {
        Value::Array(items) => position(step, items.len()).map(|i| items[i].clone()),
        other => Ok(other.get(step).cloned().unwrap_or(Value::Null)),
    }
}

fn insert(at: &mut Value, step: String, value: Value) -> Result<(), String> {
    match at {
        Value::Array(items) if step == "-" => items.push(value),
        Value::Array(items) => {
            // The index behind the last element is accepted; a negative index counts from there.
            let i = position(&step, items.len() + 1).map_err(|why| match why.starts_with("strconv") {
                true => format!("value was not a proper array index: '{step}': {why}"),
                false => why,
            })?;
            items.insert(i, value);
        }
        Value::Object(members) => drop(members.insert(step, value)),
        _ => {}
    }
    Ok(())
}

fn take(at: &mut Value, step: &str) -> Result<Value, String> {
    match at {
        Value::Array(items) => position(step, items.len()).map(|i| items.remove(i)),
        other => other
            .as_object_mut()
            .and_then(|members| members.remove(step))
            .ok_or_else(|| format!("Unable to remove nonexistent key: {step}: missing value")),
    }
}

fn add(target: &mut Value, path: &str, value: Value) -> Result<(), PatchError> {
    check_depth(path, &value)?;
    let missing =
        || fails(format!("add operation does not apply: doc is missing path: \"{path}\": missing value"));
    let (at, last) = parent(target, path).ok_or_else(missing)?;
    insert(at, last, value).map_err(|why| fails(format!("error in add for path: '{path}': {why}")))
}

fn replace(target: &mut Value, path: &str, value: Value) -> Result<(), PatchError> {
    check_depth(path, &value)?;
    if path.is_empty() {
        if !value.is_object() && !value.is_array() {
            return Err(fails("replace operation value must be object or array: %!w(<nil>)"));
        }
        *target = value;
        return Ok(());
    }
    let missing = |what: &str| {
        fails(format!("replace operation does not apply: doc is missing {what}: {path}: missing value"))
    };
    let (at, last) = parent(target, path).ok_or_else(|| missing("path"))?;
    match at {
        Value::Array(items) => {
            let i = position(&last, items.len()).map_err(|_| missing("key"))?;
            items[i] = value;
        }
        other => drop(other.as_object_mut().map(|members| members.insert(last, value))),
    }
    Ok(())
}

fn remove(target: &mut Value, path: &str) -> Result<(), PatchError> {
    let missing =
        || fails(format!("remove operation does not apply: doc is missing path: \"{path}\": missing value"));
    let (at, last) = parent(target, path).ok_or_else(missing)?;
    match take(at, &last) {
        Ok(_) => Ok(()),
        Err(why) => Err(fails(format!("error in remove for path: '{path}': {why}"))),
    }
}

fn relocate<'p>(
    target: &mut Value,
    from: &str,
    path: impl Fn() -> Result<&'p str, PatchError>,
) -> Result<(), PatchError> {
    let missing = |what: &str, path: &str| {
        fails(format!("move operation does not apply: doc is missing {what} path: {path}: missing value"))
    };
    let (at, last) = parent(target, from).ok_or_else(|| missing("from", from))?;
    let moved = take(at, &last).map_err(|why| fails(format!("error in move for path: '{last}': {why}")))?;
    let path = path()?;
    check_depth(path, &moved)?;
    let (at, last) = parent(target, path).ok_or_else(|| missing("destination", path))?;
    insert(at, last, moved).map_err(|why| fails(format!("error in move for path: '{path}': {why}")))
}

fn copied(target: &mut Value, from: &str) -> Result<Value, PatchError> {
    let missing =
        || fails(format!("copy operation does not apply: doc is missing from path: {from}: missing value"));
    let (at, last) = parent(target, from).ok_or_else(missing)?;
    member(at, &last).map_err(|why| fails(format!("error in copy for from: '{from}': {why}")))
}

fn test(target: &mut Value, path: &str, wanted: Option<&Value>) -> Result<(), PatchError> {
    let found = match path {
        "" => target.clone(),
        _ => {
            let missing =
                || fails(format!("test operation does not apply: is missing path: {path}: missing value"));
            let (at, last) = parent(target, path).ok_or_else(missing)?;
            member(at, &last).map_err(|why| fails(format!("error in test for path: '{path}': {why}")))?
        }
    };
    if found == *wanted.unwrap_or(&Value::Null) {
        Ok(())
    } else {
        Err(PatchError::TestFailed(path.to_owned()))
    }
}
