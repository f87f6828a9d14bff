//! Escalation: whether the rules that a user has cover the rules that it wants to grant.

use std::collections::BTreeSet;
use std::fmt::Write;

use indexmap::IndexMap;
use shim_model::go_quote::{Quoted, go_quote_list};

use super::index::{UnknownRole, aggregate};
use super::rule::path_matches;
use super::{PolicyRule, Subject};

/// The parts of `wanted` that `held` does not cover. Each part has one verb, and one group, resource and name, or one path.
pub fn uncovered(held: &[PolicyRule], wanted: &[PolicyRule]) -> Vec<PolicyRule> {
    let parts = wanted.iter().flat_map(parts_of);
    parts.filter(|part| !held.iter().any(|rule| covers(rule, part))).collect()
}

/// Why a user may not grant rules: those that it does not hold. `unknown` are roles that could not be resolved.
pub fn refusal(
    subject: &Subject<'_>,
    held: &[PolicyRule],
    wanted: &[PolicyRule],
    unknown: &[UnknownRole],
) -> Option<String> {
    let missing = uncovered(held, wanted);
    if missing.is_empty() {
        return None;
    }
    let shown: BTreeSet<String> = compacted(missing).iter().map(show).collect();
    let shown: Vec<String> = shown.into_iter().collect();
    let mut why = format!(
        "user {} (groups={}) is attempting to grant RBAC permissions not currently held:\n{}",
        Quoted(subject.name),
        go_quote_list(subject.groups),
        shown.join("\n")
    );
    if !unknown.is_empty() {
        let _ = write!(why, "; resolution errors: [{}]", aggregate(unknown));
    }
    Some(why)
}

fn parts_of(rule: &PolicyRule) -> Vec<PolicyRule> {
    let one = |text: &String| vec![text.clone()];
    let mut parts = Vec::new();
    for group in &rule.api_groups {
        for resource in &rule.resources {
            for verb in &rule.verbs {
                let part = PolicyRule {
                    verbs: one(verb),
                    api_groups: one(group),
                    resources: one(resource),
                    ..PolicyRule::default()
                };
                if rule.resource_names.is_empty() {
                    parts.push(part);
                    continue;
                }
                let named = |name: &String| PolicyRule { resource_names: one(name), ..part.clone() };
                parts.extend(rule.resource_names.iter().map(named));
            }
        }
    }
    for url in &rule.non_resource_urls {
        let of = |verb: &String| PolicyRule {
            verbs: one(verb),
            non_resource_urls: one(url),
            ..PolicyRule::default()
        };
        parts.extend(rule.verbs.iter().map(of));
    }
    parts
}

fn covers(rule: &PolicyRule, part: &PolicyRule) -> bool {
    let has = |list: &[String], text: &String| list.iter().any(|known| known == "*" || known == text);
    let resource_is_covered = |wanted: &String| {
        has(&rule.resources, wanted)
            || wanted.split_once('/').is_some_and(|(_, subresource)| {
                rule.resources.iter().any(|known| known.strip_prefix("*/") == Some(subresource))
            })
    };
    part.verbs.iter().all(|verb| has(&rule.verbs, verb))
        && part.api_groups.iter().all(|group| has(&rule.api_groups, group))
        && part.resources.iter().all(resource_is_covered)
        && (rule.resource_names.is_empty()
            || !part.resource_names.is_empty()
                && part.resource_names.iter().all(|name| rule.resource_names.contains(name)))
        && part
            .non_resource_urls
            .iter()
            .all(|url| rule.non_resource_urls.iter().any(|known| path_matches(known, url)))
}

/// Combines parts that differ in the verb only.
fn compacted(parts: Vec<PolicyRule>) -> Vec<PolicyRule> {
    let mut out = Vec::new();
    let mut simple: IndexMap<(Vec<String>, Vec<String>), PolicyRule> = IndexMap::new();
    for part in parts {
        if !part.resource_names.is_empty() || !part.non_resource_urls.is_empty() {
            out.push(part);
            continue;
        }
        let key = (part.api_groups.clone(), part.resources.clone());
        match simple.get_mut(&key) {
            Some(known) => known.verbs.extend(part.verbs),
            None => {
                simple.insert(key, part);
            }
        }
    }
    out.extend(simple.into_values());
    out
}

fn show(rule: &PolicyRule) -> String {
    let members = [
        ("APIGroups", &rule.api_groups),
        ("Resources", &rule.resources),
        ("NonResourceURLs", &rule.non_resource_urls),
        ("ResourceNames", &rule.resource_names),
        ("Verbs", &rule.verbs),
    ];
    let shown = members.into_iter().filter(|(_, list)| !list.is_empty());
    let shown: Vec<String> = shown.map(|(name, list)| format!("{name}:{}", go_quote_list(list))).collect();
    format!("{{{}}}", shown.join(", "))
}
