//! RFC 6902 with the deviations of upstream's implementation: `replace` of a missing member adds it, `copy` from a
//! missing member gives null, and negative indexes count from the end. The errors have upstream's texts.

use serde_json::Value;

/// Why a patch does not apply.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum PatchError {
    /// An operation is malformed, or its path does not lead to a value.
    #[error("{0}")]
    DoesNotApply(String),
    /// A `test` has found another value.
    #[error("testing value {0} failed: test failed")]
    TestFailed(String),
    /// The `copy` operations add too much.
    #[error(
        "Unable to complete the copy, the accumulated size increase of copy is {0}, exceeding the limit {COPIED_BYTES_MAX}"
    )]
    CopiesTooMuch(usize),
    /// The result has too many levels.
    #[error("exceeded max depth")]
    TooDeep,
}

type Done<T = ()> = Result<T, PatchError>;

/// Most members and elements that `copy` operations may add, so that a small patch cannot create a huge object.
const COPIES_MAX: usize = 10_000;
/// Most bytes that they may add: upstream's default of `JSONPatchMaxCopyBytes`.
const COPIED_BYTES_MAX: usize = 3 << 20;
/// Most levels of a result. serde_json reads no deeper text, so a deeper object could be stored and never be read.
const DEPTH_MAX: usize = 127;

/// The end of errors about what is not there.
const MISSING: &str = "missing value";

/// Applies the operations in order. A failure leaves the target partly changed, so apply to a copy.
pub fn apply(target: &mut Value, operations: &[Value]) -> Done {
    let mut copied = Copied::default();
    for operation in operations {
        let operation = Operation(operation);
        match operation.kind() {
            "add" => add(target, operation)?,
            "remove" => {
                let path =
                    operation.path().map_err(|_| fails("remove operation failed to decode path", MISSING))?;
                let at = found(target, path, || {
                    format!("remove operation does not apply: doc is missing path: \"{path}\"")
                })?;
                at.remove().map_err(|why| fails(format_args!("error in remove for path: '{path}'"), why))?;
            }
            "replace" => replace(target, operation)?,
            "move" => relocate(target, operation)?,
            "copy" => copy(target, operation, &mut copied)?,
            "test" => test(target, operation)?,
            other => return Err(PatchError::DoesNotApply(format!("Unexpected kind: {other}"))),
        }
    }
    Ok(())
}

fn fails(what: impl std::fmt::Display, why: impl std::fmt::Display) -> PatchError {
    PatchError::DoesNotApply(format!("{what}: {why}"))
}

/// One operation of a patch.
#[derive(Clone, Copy)]
struct Operation<'a>(&'a Value);

impl<'a> Operation<'a> {
    fn kind(self) -> &'a str {
        self.0.get("op").and_then(Value::as_str).unwrap_or("unknown")
    }

    fn path(self) -> Result<&'a str, String> {
        self.text("path", "operation missing path field")
    }

    fn from(self) -> Result<&'a str, String> {
        self.text("from", "operation, missing from field")
    }

    fn text(self, member: &str, missing: &str) -> Result<&'a str, String> {
        let kind = match self.0.get(member) {
            None | Some(Value::Null) => return Err(format!("{missing}: {MISSING}")),
            Some(Value::String(text)) => return Ok(text),
            Some(Value::Bool(_)) => "bool",
            Some(Value::Number(_)) => "number",
            Some(Value::Array(_)) => "array",
            Some(Value::Object(_)) => "object",
        };
        Err(format!("json: cannot unmarshal {kind} into Go value of type string"))
    }

    /// The value; null if there is none.
    fn value(self) -> Value {
        self.0.get("value").cloned().unwrap_or(Value::Null)
    }
}

/// A member of an object or an element of an array, which may be absent.
enum Place<'a> {
    Member(&'a mut serde_json::Map<String, Value>, String),
    Element(&'a mut Vec<Value>, String),
}

impl Place<'_> {
    fn get(&self) -> Result<Option<&Value>, String> {
        match self {
            Place::Member(members, key) => Ok(members.get(key)),
            Place::Element(items, step) => Ok(Some(&items[position(step, items.len())?])),
        }
    }

    fn add(self, value: Value) -> Result<(), String> {
        match self {
            Place::Member(members, key) => {
                members.insert(key, value);
            }
            Place::Element(items, step) if step == "-" => items.push(value),
            Place::Element(items, step) => {
                // The index behind the last element is valid; a negative index counts from there.
                let at = match step.parse::<i64>() {
                    Ok(_) => position(&step, items.len() + 1)?,
                    Err(_) => {
                        return Err(format!(
                            "value was not a proper array index: '{step}': {}",
                            not_a_number(&step)
                        ));
                    }
                };
                items.insert(at, value);
            }
        }
        Ok(())
    }

    fn set(self, value: Value) -> Result<(), String> {
        match self {
            Place::Member(members, key) => {
                members.insert(key, value);
            }
            Place::Element(items, step) => {
                let at = position(&step, items.len())?;
                items[at] = value;
            }
        }
        Ok(())
    }

    fn remove(self) -> Result<Value, String> {
        match self {
            Place::Member(members, key) => members
                .remove(&key)
                .ok_or_else(|| format!("Unable to remove nonexistent key: {key}: {MISSING}")),
            Place::Element(items, step) => {
                let at = position(&step, items.len())?;
                Ok(items.remove(at))
            }
        }
    }
}

fn position(step: &str, length: usize) -> Result<usize, String> {
    let index: i64 = step.parse().map_err(|_| not_a_number(step))?;
    let counted = if index < 0 { index.saturating_add(length as i64) } else { index };
    let valid = usize::try_from(counted).ok().filter(|i| *i < length);
    valid.ok_or_else(|| format!("Unable to access invalid index: {index}: invalid index referenced"))
}

fn not_a_number(step: &str) -> String {
    let digits = step.strip_prefix(['-', '+']).unwrap_or(step);
    let is_number = !digits.is_empty() && digits.bytes().all(|b| b.is_ascii_digit());
    let why = if is_number { "value out of range" } else { "invalid syntax" };
    format!("strconv.Atoi: parsing {}: {why}", Value::from(step))
}

/// The steps of a JSON pointer. Text before the first slash is ignored.
fn steps(path: &str) -> Vec<String> {
    path.split('/').skip(1).map(|step| step.replace("~1", "/").replace("~0", "~")).collect()
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

/// The place that a path leads to; an error, which `missing` begins, if there is nothing that could contain it.
fn found<'a>(target: &'a mut Value, path: &str, missing: impl Fn() -> String) -> Done<Place<'a>> {
    place(target, path).ok_or_else(|| fails(missing(), MISSING))
}

fn place<'a>(target: &'a mut Value, path: &str) -> Option<Place<'a>> {
    let mut steps = steps(path);
    let last = steps.pop()?;
    let mut at = target;
    for step in &steps {
        at = child(at, step)?;
    }
    match at {
        Value::Object(members) => Some(Place::Member(members, last)),
        Value::Array(items) => Some(Place::Element(items, last)),
        _ => None,
    }
}

fn add(target: &mut Value, operation: Operation<'_>) -> Done {
    let path = operation.path().map_err(|_| fails("add operation failed to decode path", MISSING))?;
    let value = operation.value();
    check_depth(path, &value)?;
    let at =
        found(target, path, || format!("add operation does not apply: doc is missing path: \"{path}\""))?;
    at.add(value).map_err(|why| fails(format_args!("error in add for path: '{path}'"), why))
}

fn replace(target: &mut Value, operation: Operation<'_>) -> Done {
    let path = operation.path().map_err(|why| fails("replace operation failed to decode path", why))?;
    let value = operation.value();
    check_depth(path, &value)?;
    if path.is_empty() {
        if !matches!(value, Value::Array(_) | Value::Object(_)) {
            return Err(fails("replace operation value must be object or array", "%!w(<nil>)"));
        }
        *target = value;
        return Ok(());
    }
    let at =
        found(target, path, || format!("replace operation does not apply: doc is missing path: {path}"))?;
    let missing =
        || fails(format_args!("replace operation does not apply: doc is missing key: {path}"), MISSING);
    at.get().map_err(|_| missing())?;
    // Upstream names another operation here.
    at.set(value).map_err(|why| fails(format_args!("error in remove for path: '{path}'"), why))
}

fn relocate(target: &mut Value, operation: Operation<'_>) -> Done {
    let from = operation.from().map_err(|why| fails("move operation failed to decode from", why))?;
    let at =
        found(target, from, || format!("move operation does not apply: doc is missing from path: {from}"))?;
    let key = steps(from).pop().unwrap_or_default();
    let moved = at.remove().map_err(|why| fails(format_args!("error in move for path: '{key}'"), why))?;
    let path = operation.path().map_err(|why| fails("move operation failed to decode path", why))?;
    check_depth(path, &moved)?;
    let missing = || format!("move operation does not apply: doc is missing destination path: {path}");
    let at = found(target, path, missing)?;
    at.add(moved).map_err(|why| fails(format_args!("error in move for path: '{path}'"), why))
}

/// What the `copy` operations of a patch have added.
#[derive(Default)]
struct Copied {
    values: usize,
    bytes: usize,
}

fn copy(target: &mut Value, operation: Operation<'_>, copied: &mut Copied) -> Done {
    let from = operation.from().map_err(|why| fails("copy operation failed to decode from", why))?;
    let at =
        found(target, from, || format!("copy operation does not apply: doc is missing from path: {from}"))?;
    let value = at.get().map_err(|why| fails(format_args!("error in copy for from: '{from}'"), why))?;
    let value = value.cloned().unwrap_or(Value::Null);
    let path = operation.path().map_err(|_| fails("copy operation failed to decode path", MISSING))?;
    let missing = || format!("copy operation does not apply: doc is missing destination path: {path}");
    let at = found(target, path, missing)?;
    copied.values += size(&value);
    copied.bytes += if value.is_null() { 0 } else { value.to_string().len() };
    if copied.values > COPIES_MAX || copied.bytes > COPIED_BYTES_MAX {
        return Err(PatchError::CopiesTooMuch(copied.bytes));
    }
    check_depth(path, &value)?;
    at.add(value).map_err(|why| fails("error while adding value during copy", why))
}

fn test(target: &mut Value, operation: Operation<'_>) -> Done {
    let path = operation.path().map_err(|why| fails("test operation failed to decode path", why))?;
    let wanted = operation.value();
    let failed = || PatchError::TestFailed(path.to_owned());
    if path.is_empty() {
        return if *target == wanted { Ok(()) } else { Err(failed()) };
    }
    let at = found(target, path, || format!("test operation does not apply: is missing path: {path}"))?;
    let value = at.get().map_err(|why| fails(format_args!("error in test for path: '{path}'"), why))?;
    if *value.unwrap_or(&Value::Null) == wanted { Ok(()) } else { Err(failed()) }
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
fn check_depth(path: &str, value: &Value) -> Done {
    let levels = path.matches('/').count() + depth(value);
    if levels > DEPTH_MAX { Err(PatchError::TooDeep) } else { Ok(()) }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn what_does_not_apply_has_upstreams_text() {
        let texts = [
            (
                json!({"op": "add", "path": "/a/b/c", "value": 1}),
                r#"add operation does not apply: doc is missing path: "/a/b/c": missing value"#,
            ),
            (
                json!({"op": "add", "path": "", "value": {}}),
                r#"add operation does not apply: doc is missing path: "": missing value"#,
            ),
            (json!({"op": "add", "value": 1}), "add operation failed to decode path: missing value"),
            (
                json!({"op": "add", "path": "/list/9", "value": 1}),
                "error in add for path: '/list/9': Unable to access invalid index: 9: invalid index referenced",
            ),
            (
                json!({"op": "add", "path": "/list/x", "value": 1}),
                "error in add for path: '/list/x': value was not a proper array index: 'x': strconv.Atoi: parsing \"x\": invalid syntax",
            ),
            (
                json!({"op": "remove", "path": "/no"}),
                "error in remove for path: '/no': Unable to remove nonexistent key: no: missing value",
            ),
            (
                json!({"op": "replace", "path": "/list/7"}),
                "replace operation does not apply: doc is missing key: /list/7: missing value",
            ),
            (
                json!({"op": "replace", "path": 3}),
                "replace operation failed to decode path: json: cannot unmarshal number into Go value of type string",
            ),
            (
                json!({"op": "move", "path": "/x"}),
                "move operation failed to decode from: operation, missing from field: missing value",
            ),
            (
                json!({"op": "move", "from": "/no", "path": "/x"}),
                "error in move for path: 'no': Unable to remove nonexistent key: no: missing value",
            ),
            (
                json!({"op": "copy", "from": "/no/x", "path": "/x"}),
                "copy operation does not apply: doc is missing from path: /no/x: missing value",
            ),
            (json!({"op": "test", "path": "/a", "value": 2}), "testing value /a failed: test failed"),
            (
                json!({"op": "test", "path": "/no/a"}),
                "test operation does not apply: is missing path: /no/a: missing value",
            ),
            (json!({"op": "turn", "path": "/a"}), "Unexpected kind: turn"),
            (json!({"path": "/a"}), "Unexpected kind: unknown"),
        ];
        for (operation, text) in texts {
            let mut target = json!({"a": 1, "list": [1]});
            let refused = apply(&mut target, std::slice::from_ref(&operation)).unwrap_err();
            assert_eq!(refused.to_string(), text, "{operation}");
        }
    }

    #[test]
    fn copies_have_a_limit() {
        let mut target = json!({"a": "x".repeat(2 << 20)});
        let operation = |path: &str| json!({"op": "copy", "from": "/a", "path": path});
        let refused = apply(&mut target, &[operation("/b"), operation("/c")]).unwrap_err();
        let text = "Unable to complete the copy, the accumulated size increase of copy is 4194308, exceeding the limit 3145728";
        assert_eq!(refused.to_string(), text);
    }
}
