//! Modules of the two shells form layers: the table lists them lowest first, and no module imports from a higher layer.
//!
//! Only `crate::` paths are read, since a `super::` path cannot leave the layer of a nested module. Imports that point upwards
//! today are counted in the ratchet, which may only shrink.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
};

use super::{Finding, sources::Source};

/// A source folder and its layers, lowest first. A layer names the top-level modules that it consists of.
struct LayeredSources {
    folder: &'static str,
    layers: &'static [&'static [&'static str]],
}

const LAYERED: &[LayeredSources] = &[
    LayeredSources {
        folder: "kubelet-executor/src",
        layers: &[
            &["config"],
            &["tls"],
            &["stop_signals"],
            &["metrics"],
            &["machine"],
            &["api"],
            &["agent"],
            &["runtime"],
            &["pod"],
            &["task_container"],
            &["node"],
            &["server"],
            &["setup"],
        ],
    },
    LayeredSources {
        folder: "libmesos/src",
        layers: &[&["log"], &["endpoint_client", "driver", "network", "detector"], &["state"], &["natives"]],
    },
    LayeredSources {
        folder: "apiserver-shim/src",
        layers: &[
            &["metrics"],
            &["storage"],
            &["node_endpoints"],
            &["service_client"],
            &["webhook_client"],
            &["request"],
            &["auth"],
            &["flow_control"],
            &["pipeline"],
            &["custom_resources"],
            &["aggregation"],
            &["controllers"],
            &["scheduler"],
            &["kernel_roles"],
            &["http"],
            &["autoscaler"],
            &["server"],
        ],
    },
];

/// Imports that point upwards: `folder from to files`. May only shrink.
const RATCHET: &str = "xtask/upward-imports.txt";

/// Checks both shells.
pub fn check(sources: &[Source]) -> Vec<Finding> {
    let mut findings = Vec::new();
    let mut upward: BTreeMap<String, Vec<&str>> = BTreeMap::new();
    for layered in LAYERED {
        for source in sources {
            let Some(path) =
                source.path.strip_prefix(layered.folder).map(|path| path.trim_start_matches('/'))
            else {
                continue;
            };
            let module = path.split('/').next().unwrap_or(path).trim_end_matches(".rs");
            if matches!(module, "lib" | "main") {
                continue;
            }
            let Some(from) = layer(layered, module) else {
                findings.push(Finding(format!(
                    "{}: module {module} is in no layer of xtask/src/tidy/layers.rs",
                    source.path
                )));
                continue;
            };
            for to in imported_modules(&source.text) {
                if layer(layered, &to).is_some_and(|to| to > from) {
                    let key = format!("{} {module} {to}", layered.folder);
                    upward.entry(key).or_default().push(&source.path);
                }
            }
        }
    }
    findings.extend(compare(&upward, &fs::read_to_string(RATCHET).unwrap_or_default()));
    findings
}

fn layer(layered: &LayeredSources, module: &str) -> Option<usize> {
    layered.layers.iter().position(|layer| layer.contains(&module))
}

/// Compares upward imports (a list of files for each pair of modules) with the ratchet's text.
fn compare(upward: &BTreeMap<String, Vec<&str>>, ratchet: &str) -> Vec<Finding> {
    let allowed: BTreeMap<&str, usize> = ratchet
        .lines()
        .filter(|line| !line.starts_with('#'))
        .filter_map(|line| line.rsplit_once(' '))
        .filter_map(|(key, files)| Some((key, files.parse().ok()?)))
        .collect();
    let mut findings = Vec::new();
    for (key, files) in upward {
        let limit = allowed.get(key.as_str()).copied().unwrap_or(0);
        if files.len() > limit {
            findings.push(Finding(format!(
                "{key}: {} files import upwards, at most {limit} may ({})",
                files.len(),
                files.join(", ")
            )));
        }
    }
    for (key, limit) in allowed {
        let files = upward.get(key).map_or(0, Vec::len);
        if files < limit {
            findings.push(Finding(format!("{key}: {files} files import upwards now; lower it in {RATCHET}")));
        }
    }
    findings
}

/// The top-level modules that a file names in `crate::` paths, nested `use` trees included; comments are skipped.
fn imported_modules(text: &str) -> BTreeSet<String> {
    let code: String = text
        .lines()
        .filter(|line| !line.trim_start().starts_with("//"))
        .flat_map(|line| [line, "\n"])
        .collect();
    let mut modules = BTreeSet::new();
    for (at, path) in code.match_indices("crate::") {
        // `$crate::` and identifiers that end in `crate` are something else.
        let before = code[..at].chars().next_back();
        if before.is_some_and(|c| c.is_alphanumeric() || matches!(c, '_' | '$')) {
            continue;
        }
        let rest = &code[at + path.len()..];
        match rest.strip_prefix('{') {
            Some(tree) => modules.extend(first_segments(tree)),
            None => modules.extend(identifier(rest)),
        }
    }
    modules
}

/// The first segment of each path in a `use` tree, whose opening brace has been read.
fn first_segments(tree: &str) -> Vec<String> {
    let mut depth = 0_u32;
    let mut segments = Vec::new();
    let mut starts = true;
    for (at, character) in tree.char_indices() {
        match character {
            '{' => depth += 1,
            '}' if depth == 0 => break,
            '}' => depth -= 1,
            ',' if depth == 0 => starts = true,
            _ if starts && !character.is_whitespace() => {
                starts = false;
                segments.extend(identifier(&tree[at..]));
            }
            _ => {}
        }
    }
    segments
}

fn identifier(text: &str) -> Option<String> {
    let name: String = text.chars().take_while(|c| c.is_alphanumeric() || *c == '_').collect();
    (!name.is_empty()).then_some(name)
}

#[cfg(test)]
mod tests;
