//! A patched object as upstream's errors print it. Upstream encodes the object, members in the order of Go's structs, and its
//! patch library takes apart only what the patch reaches into: those objects become maps, which are printed sorted.

use crate::field;
use crate::protobuf;
use crate::schema::{ObjectType, Schema, Type};
use serde_json::{Map, Value};
use std::collections::BTreeMap;

/// What a patch has done to a value.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Touch {
    /// It is as it was.
    Not,
    /// It comes from the patch.
    Replaced,
    /// The patch reaches into it: what it has done to the members or elements.
    Inside(BTreeMap<String, Touch>),
}

impl Touch {
    /// What a merge patch does to a value.
    pub fn of_merge(current: Option<&Value>, patch: &Value) -> Touch {
        let (Some(Value::Object(members)), Value::Object(changes)) = (current, patch) else {
            return Touch::Replaced;
        };
        let of_member =
            |(name, change): (&String, &Value)| (name.clone(), Touch::of_merge(members.get(name), change));
        Touch::Inside(changes.iter().map(of_member).collect())
    }

    /// What a JSON patch does to an object.
    pub fn of_json(operations: &[Value]) -> Touch {
        let mut touch = Touch::Inside(BTreeMap::new());
        for operation in operations {
            let text = |key: &str| operation.get(key).and_then(Value::as_str);
            let last = if text("op") == Some("remove") { Touch::Not } else { Touch::Replaced };
            for (path, last) in [(text("from"), Touch::Not), (text("path"), last)] {
                let Some(path) = path else { continue };
                let steps: Vec<_> =
                    path.split('/').skip(1).map(|step| step.replace("~1", "/").replace("~0", "~")).collect();
                touch.reach(&steps, last);
            }
        }
        touch
    }

    fn reach(&mut self, steps: &[String], last: Touch) {
        match (steps, &mut *self) {
            (_, Touch::Replaced) => {}
            ([], _) if last == Touch::Not => {}
            ([], _) => *self = last,
            ([step, rest @ ..], Touch::Inside(members)) => {
                members.entry(step.clone()).or_insert(Touch::Not).reach(rest, last);
            }
            (_, Touch::Not) => {
                *self = Touch::Inside(BTreeMap::new());
                self.reach(steps, last);
            }
        }
    }
}

/// The text of an object of a type, of which a patch has touched this.
pub(super) fn show(value: &Value, ty: &ObjectType, touch: &Touch) -> String {
    // Custom resources are maps in upstream.
    if ty.schema().is_structural() {
        return field::go_json(value);
    }
    let mut out = String::new();
    print(value, Some(Type::Struct(ty.root())), touch, ty.schema(), &mut out);
    out
}

fn print(value: &Value, ty: Option<Type>, touch: &Touch, schema: &Schema, out: &mut String) {
    let inner = |name: &str| match touch {
        Touch::Inside(members) => members.get(name).unwrap_or(&Touch::Not),
        other => other,
    };
    match value {
        _ if *touch == Touch::Replaced => out.push_str(&field::go_json(value)),
        Value::Object(members) => {
            out.push('{');
            let names = order(members, ty.filter(|_| *touch == Touch::Not), schema);
            for (at, name) in names.into_iter().enumerate() {
                out.push_str(if at == 0 { "" } else { "," });
                out.push_str(&field::go_json(&Value::from(name)));
                out.push(':');
                print(&members[name], member_type(ty, name, schema), inner(name), schema, out);
            }
            out.push('}');
        }
        Value::Array(items) => {
            let ty = match ty {
                Some(Type::List(item)) => Some(schema.item(item)),
                _ => None,
            };
            out.push('[');
            for (at, item) in items.iter().enumerate() {
                out.push_str(if at == 0 { "" } else { "," });
                print(item, ty, inner(&at.to_string()), schema, out);
            }
            out.push(']');
        }
        scalar => out.push_str(&field::go_json(scalar)),
    }
}

fn member_type(ty: Option<Type>, name: &str, schema: &Schema) -> Option<Type> {
    match ty? {
        Type::Struct(id) => schema.at(id).field(name).map(|field| field.ty),
        Type::Map(item) => Some(schema.item(item)),
        _ => None,
    }
}

/// The names of an object's members in the order in which Go prints them: sorted if the object is a map there.
fn order<'v>(members: &'v Map<String, Value>, ty: Option<Type>, schema: &Schema) -> Vec<&'v str> {
    let mut names: Vec<&str> = members.keys().map(String::as_str).collect();
    if let Some(Type::Struct(id)) = ty
        && let Some(message) = protobuf::message_of_type(&schema.at(id).name)
    {
        let known = protobuf::go_order(message);
        // Kind and version, which no message has, are first.
        names.sort_by_key(|name| match known.iter().position(|member| member == name) {
            Some(at) => at + 2,
            None => match *name {
                "kind" => 0,
                "apiVersion" => 1,
                _ => known.len() + 2,
            },
        });
    }
    names
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::resource::KindRef;
    use serde_json::json;

    fn pod(touch: &Touch) -> String {
        let ty = crate::schema::testing::object_type("", "v1", "Pod");
        let pod = json!({
            "apiVersion": "v1", "kind": "Pod",
            "metadata": {"creationTimestamp": "t", "labels": {"b": "<", "a": "1"}, "name": "p",
                "managedFields": [{"apiVersion": "v1", "manager": "m", "operation": "Update"}]},
            "spec": {"containers": [{"image": "i", "name": "c"}], "initContainers": null},
        });
        show(&pod, &ty, touch)
    }

    #[test]
    fn what_a_merge_patch_reaches_into_is_sorted() {
        let current = json!({"metadata": {"labels": {}}, "spec": {"containers": []}});
        let touch = Touch::of_merge(Some(&current), &json!({"kind": "Foo"}));
        assert_eq!(
            pod(&touch),
            concat!(
                r#"{"apiVersion":"v1","kind":"Pod","metadata":{"name":"p","creationTimestamp":"t","labels":{"a":"1","b":"\u003c"},"#,
                r#""managedFields":[{"manager":"m","operation":"Update","apiVersion":"v1"}]},"#,
                r#""spec":{"initContainers":null,"containers":[{"name":"c","image":"i"}]}}"#
            )
        );
        let touch =
            Touch::of_merge(Some(&current), &json!({"metadata": {"name": "p"}, "spec": {"containers": 1}}));
        assert_eq!(
            pod(&touch),
            concat!(
                r#"{"apiVersion":"v1","kind":"Pod","metadata":{"creationTimestamp":"t","labels":{"a":"1","b":"\u003c"},"#,
                r#""managedFields":[{"manager":"m","operation":"Update","apiVersion":"v1"}],"name":"p"},"#,
                r#""spec":{"containers":[{"image":"i","name":"c"}],"initContainers":null}}"#
            )
        );
    }

    #[test]
    fn what_a_json_patch_reaches_into_is_sorted() {
        let touch = Touch::of_json(&[
            json!({"op": "remove", "path": "/spec/containers/0/image"}),
            json!({"op": "add", "path": "/a~1b", "value": 1}),
        ]);
        let text = pod(&touch);
        assert!(text.contains(r#""metadata":{"name":"p","#), "{text}");
        assert!(
            text.ends_with(r#""spec":{"containers":[{"image":"i","name":"c"}],"initContainers":null}}"#),
            "{text}"
        );
        let Touch::Inside(members) = touch else { panic!("{touch:?}") };
        assert_eq!(members["a/b"], Touch::Replaced);
    }

    #[test]
    fn custom_resources_are_sorted() {
        let kind = KindRef { group: "e.com", version: "v1", kind: "W" };
        let schema = Schema::structural(kind, json!({"type": "object"})).unwrap();
        let value = json!({"metadata": {"name": "p", "creationTimestamp": "t"}});
        let text = show(&value, &schema.object_type(kind).unwrap(), &Touch::Not);
        assert_eq!(text, r#"{"metadata":{"creationTimestamp":"t","name":"p"}}"#);
    }
}
