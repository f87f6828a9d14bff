//! The tables of docs/mesos-fields.md against our copies of the messages: a new field or call needs a row, and a row that names
//! none is a mistake.

use std::collections::BTreeSet;

use crate::codec::descriptor_pool;

const DOCUMENT: &str = include_str!("../../../../docs/mesos-fields.md");

/// The names in the first column of a section's table, with the second column.
fn rows(title: &str) -> Vec<(&'static str, &'static str)> {
    let section = DOCUMENT.split("\n## ").find(|section| section.lines().next() == Some(title));
    let section = section.unwrap_or_else(|| panic!("no section about {title}"));
    let rows = section.lines().filter_map(|line| line.strip_prefix("| `"));
    rows.map(|row| {
        let (name, rest) = row.split_once("` | ").expect("a name");
        (name, rest.split_once(" |").expect("a second column").0)
    })
    .collect()
}

#[test]
fn every_field_and_call_is_documented() {
    let pool = descriptor_pool();
    let titles = DOCUMENT.lines().filter_map(|line| line.strip_prefix("## "));
    for title in titles {
        let declared: BTreeSet<String> = match (pool.get_message_by_name(title), pool.get_enum_by_name(title))
        {
            (Some(message), _) => message.fields().map(|field| field.name().to_owned()).collect(),
            (_, Some(names)) => names.values().map(|value| value.name().to_owned()).collect(),
            _ => panic!("{title} is neither a message nor an enum"),
        };
        let rows = rows(title);
        let documented: BTreeSet<String> = rows.iter().map(|(name, _)| (*name).to_owned()).collect();
        assert_eq!(declared, documented, "{title} in docs/mesos-fields.md");
        assert_eq!(rows.len(), documented.len(), "{title}: a row is there twice");
        for (name, state) in rows {
            assert!(matches!(state, "honoured" | "refused" | "ignored"), "{title}.{name}: {state}");
        }
    }
    for title in [
        "FrameworkInfo",
        "TaskInfo",
        "ExecutorInfo",
        "CommandInfo",
        "CommandInfo.URI",
        "ContainerInfo",
        "Offer.Operation.Type",
        "scheduler.Call.Type",
        "executor.Call.Type",
        "master.Call.Type",
        "agent.Call.Type",
    ] {
        assert!(!rows(&format!("mesos.v1.{title}")).is_empty(), "{title}");
    }
}
