//! The order in which Go declares a message's members, and so prints them. It is the order of their numbers, except in the
//! messages of `data/go_order.tsv`.

use super::table::{MessageId, Table};
use std::collections::BTreeMap;
use std::sync::LazyLock;

const EXCEPTIONS: &str = include_str!("../../data/go_order.tsv");

/// The JSON names of a message's members in Go's order; those of embedded structs are in their place. Only errors need them.
pub(crate) fn go_order(message: MessageId) -> &'static [&'static str] {
    static ORDERS: LazyLock<Vec<Vec<&'static str>>> = LazyLock::new(|| {
        let table = Table::builtin();
        let rows = EXCEPTIONS.lines().filter(|line| !line.starts_with('#'));
        let exceptions: BTreeMap<_, _> = rows.filter_map(|line| line.split_once('\t')).collect();
        table.ids().map(|id| order(table, &exceptions, id)).collect()
    });
    &ORDERS[message.index()]
}

fn order(table: &Table, exceptions: &BTreeMap<&str, &'static str>, id: MessageId) -> Vec<&'static str> {
    let message = table.at(id);
    let mut own: Vec<(String, Vec<&'static str>)> = Vec::new();
    for field in &message.fields {
        own.push(match field.embedded_message() {
            Some(inner) => (format!("+{}", field.go_name()), order(table, exceptions, inner)),
            None => (field.name.to_owned(), vec![field.name]),
        });
    }
    if let Some(names) = exceptions.get(message.name) {
        let place = |name: &str| names.split(' ').position(|known| known == name);
        own.sort_by_key(|(name, _)| place(name));
    }
    own.into_iter().flat_map(|(_, members)| members).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(name: &str) -> &'static [&'static str] {
        go_order(Table::builtin().find(name).unwrap())
    }

    #[test]
    fn members_are_in_the_order_of_their_declaration() {
        assert_eq!(of("core.v1.PodSpec")[..3], ["volumes", "initContainers", "containers"]);
        assert_eq!(of("meta.v1.ObjectMeta")[..3], ["name", "generateName", "namespace"]);
        assert_eq!(of("core.v1.Secret"), ["metadata", "immutable", "data", "stringData", "type"]);
        let ephemeral = of("core.v1.EphemeralContainer");
        assert_eq!((ephemeral[0], ephemeral[ephemeral.len() - 1]), ("name", "targetContainerName"));
    }

    #[test]
    fn exceptions_name_all_members_of_known_messages() {
        let table = Table::builtin();
        for (message, names) in EXCEPTIONS.lines().filter_map(|line| line.split_once('\t')) {
            let fields = &table.at(table.find(message).unwrap()).fields;
            let mut known: Vec<String> = fields
                .iter()
                .map(|f| if f.is_embedded() { format!("+{}", f.go_name()) } else { f.name.to_owned() })
                .collect();
            let mut named: Vec<&str> = names.split(' ').collect();
            assert_ne!(known, named, "{message} is no exception");
            known.sort();
            named.sort_unstable();
            assert_eq!(known, named, "{message}");
        }
    }
}
