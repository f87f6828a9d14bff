//! The members of a message's JSON object as documents describe them: type, whether one may be missing, what stands for a
//! missing one.

use serde_json::{Value, json};

use super::table::{Arity, Field, Form, Kind, Table};

/// A member of the JSON object of a message.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Member {
    /// JSON name.
    pub name: &'static str,
    /// The type of a text, boolean or number, or of the elements of a list of such.
    pub scalar: Option<&'static str>,
    /// Whether the value is a list.
    pub is_list: bool,
    /// The value that Go has in place of a missing one and that schemas have as the default.
    pub default: Option<Value>,
    /// Whether Go always writes it.
    pub is_written: bool,
}

/// The members of a message with this package and name, such as `core.v1.PodExecOptions`, in the order of their numbers. Empty
/// if there is none.
pub(crate) fn members(message: &str) -> Vec<Member> {
    let table = Table::builtin();
    let Some(id) = table.find(message) else { return Vec::new() };
    table.at(id).leaves.iter().map(|leaf| member(table, &leaf.field)).collect()
}

fn member(table: &Table, field: &Field) -> Member {
    let scalar = match field.kind {
        _ if field.arity == Arity::Map => None,
        Kind::Text => Some("string"),
        Kind::Bool => Some("boolean"),
        Kind::Int32 | Kind::Int64 => Some("integer"),
        Kind::Double => Some("number"),
        _ => None,
    };
    let is_value = field.arity == Arity::One && !field.pointer;
    let default = match field.kind {
        _ if !is_value => None,
        Kind::Message(id) => (table.at(id).form == Form::Object).then(|| json!({})),
        _ if field.omitted => None,
        Kind::Text => Some(json!("")),
        Kind::Bool => Some(json!(false)),
        Kind::Int32 | Kind::Int64 | Kind::Double => Some(json!(0)),
        _ => None,
    };
    Member {
        name: field.name,
        scalar,
        is_list: field.arity == Arity::List,
        default,
        is_written: !field.omitted,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_have_defaults_and_pointers_have_none() {
        let of = |message: &str, name: &str| {
            members(message).into_iter().find(|member| member.name == name).unwrap()
        };
        assert_eq!(of("core.v1.Pod", "spec").default, Some(json!({})));
        assert_eq!(of("core.v1.Container", "name").default, Some(json!("")));
        assert_eq!(of("core.v1.ContainerStatus", "restartCount").default, Some(json!(0)));
        assert_eq!(of("core.v1.Container", "image").default, None, "omitted if empty");
        assert_eq!(of("core.v1.Container", "securityContext").default, None, "a pointer");
        assert_eq!(of("core.v1.PodSpec", "containers").default, None, "a list");
        let command = of("core.v1.PodExecOptions", "command");
        assert_eq!((command.scalar, command.is_list), (Some("string"), true));
        assert_eq!(members("core.v1.Nothing"), []);
    }
}
