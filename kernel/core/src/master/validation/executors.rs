//! Whether two descriptions are of one executor (upstream: `operator==` of ExecutorInfo in `common/type_utils.cpp`).

use std::collections::BTreeSet;

use kernel_model::{
    executor::{CommandInfo, ExecutorInfo},
    text,
};

/// Whether two descriptions are of one executor.
pub(super) fn are_same(a: &ExecutorInfo, b: &ExecutorInfo) -> bool {
    std::ptr::eq(a, b) || PARTS.iter().all(|part| (part.same)(a, b))
}

/// Refuses an executor that is not the existing one of its id; the text shows what differs.
pub(super) fn check_same(existing: &ExecutorInfo, executor: &ExecutorInfo) -> Result<(), String> {
    if are_same(existing, executor) {
        return Ok(());
    }
    let differing: Vec<&Part> = PARTS.iter().filter(|part| !(part.same)(existing, executor)).collect();
    let show = |of: &ExecutorInfo| {
        let lines = differing.iter().map(|part| format!("{}: {}", part.name, (part.show)(of)));
        lines.collect::<Vec<_>>().join("\n")
    };
    Err(text::bounded(format_args!(
        "ExecutorInfo is not compatible with existing ExecutorInfo with same ExecutorID.\n{line}\n\
         Existing ExecutorInfo:\n{}\n{line}\nExecutorInfo:\n{}\n{line}\n",
        show(existing),
        show(executor),
        line = "-".repeat(60)
    )))
}

/// A part of an ExecutorInfo that belongs to its identity. Labels and the grace period do not.
struct Part {
    name: &'static str,
    same: fn(&ExecutorInfo, &ExecutorInfo) -> bool,
    show: fn(&ExecutorInfo) -> String,
}

const PARTS: [Part; 8] = [
    Part { name: "type", same: |a, b| a.kind == b.kind, show: |of| format!("{:?}", of.kind) },
    Part {
        name: "executor_id",
        same: |a, b| a.executor_id == b.executor_id,
        show: |of| of.executor_id.to_string(),
    },
    Part {
        name: "command",
        same: |a, b| same_command(a, b),
        show: |of| of.command.as_ref().map_or_else(String::new, shown),
    },
    // The allocation role is ignored: tasks of all roles of a framework can share an executor, which Mesos does not allow.
    Part {
        name: "resources",
        same: |a, b| a.resources == b.resources || a.resources.unallocated() == b.resources.unallocated(),
        show: |of| of.resources.unallocated().to_string(),
    },
    Part { name: "name", same: |a, b| a.name == b.name, show: |of| format!("'{}'", of.name) },
    Part { name: "source", same: |a, b| a.source == b.source, show: |of| format!("'{}'", of.source) },
    Part { name: "data", same: |a, b| a.data == b.data, show: |of| format!("{} bytes", of.data.len()) },
    Part {
        name: "container or discovery",
        same: |a, b| a.extra == b.extra,
        show: |of| of.image.as_ref().map_or_else(|| "not shown".to_owned(), |own| own.image.clone()),
    },
];

/// The order of variables and of URIs means nothing: frameworks that keep them in hash maps send them in any.
fn same_command(a: &ExecutorInfo, b: &ExecutorInfo) -> bool {
    let (Some(a), Some(b)) = (&a.command, &b.command) else { return a.command == b.command };
    a.shell == b.shell
        && a.value == b.value
        && a.arguments == b.arguments
        && a.user == b.user
        && a.extra == b.extra
        && same_set(&a.environment, &b.environment)
        && same_set(&a.uris, &b.uris)
}

fn same_set<T: Ord>(a: &[T], b: &[T]) -> bool {
    a == b || a.len() == b.len() && a.iter().collect::<BTreeSet<_>>() == b.iter().collect()
}

/// Without the values of variables, which may be secret.
fn shown(command: &CommandInfo) -> String {
    let names: BTreeSet<&str> = command.environment.iter().map(|(name, _)| name.as_str()).collect();
    let uris: BTreeSet<&str> = command.uris.iter().map(|uri| uri.value.as_str()).collect();
    let value = command.value.as_deref().unwrap_or_default();
    let (shell, arguments, user) =
        (command.shell, &command.arguments, command.user.as_deref().unwrap_or_default());
    format!(
        "value '{value}', shell {shell}, arguments {arguments:?}, user '{user}', variables {names:?} (without values), URIs {uris:?}"
    )
}
