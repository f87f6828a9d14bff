//! Refuses words of the project's former private vocabulary: names are the field's terms (`docs/glossary.md`).
//!
//! A [`Form::Part`] is compared with each part of an identifier (`OfferWishes` and `offer_wishes` have the parts `offer`
//! and `wishes`) and with each word of a text. A [`Form::Name`] is compared with whole identifiers of code, where the word
//! itself is ordinary English; comments and documents may have it.

use std::{collections::BTreeMap, fs};

use anyhow::Context;

use super::{Finding, sources::Source};

/// What a banned word is compared with.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Form {
    /// Parts of identifiers and words of texts, in any case.
    Part,
    /// Whole identifiers outside comments, in this case.
    Name,
}

/// A word that is refused, and the field's term for it.
struct Banned {
    word: &'static str,
    form: Form,
    instead: &'static str,
    /// Paths that contain one of these may use it: the word is the field's term there.
    allowed: &'static [&'static str],
}

const fn part(word: &'static str, instead: &'static str) -> Banned {
    Banned { word, form: Form::Part, instead, allowed: &[] }
}

const fn name(word: &'static str, instead: &'static str) -> Banned {
    Banned { word, form: Form::Name, instead, allowed: &[] }
}

const BANNED: &[Banned] = &[
    part("shelf", "SnapshotMap"),
    part("shelves", "SnapshotMap"),
    part("picture", "Snapshot"),
    part("pictures", "Snapshot"),
    part("door", "Server, Handlers, Router or Subresource"),
    part("doors", "Servers, Handlers, Router or Subresource"),
    part("hull", "API"),
    part("hulls", "APIs, mixed workloads"),
    part("luck", "randomness"),
    part("fate", "Fault, inferred state"),
    part("fates", "faults"),
    part("farewell", "RemovalReason"),
    part("remnant", "OrphanedResource"),
    part("remnants", "orphaned resources"),
    part("tangle", "nesting limit"),
    part("tangled", "nesting limit"),
    part("unsaid", "implicit_default"),
    part("wish", "preference, request"),
    part("wishes", "preferences"),
    part("promise", "LaunchIntent"),
    part("promises", "LaunchIntent"),
    part("promised", "intended"),
    part("unpromise", "clear_intent"),
    part("turmoil", "faults_enabled"),
    part("ingredients", "ContainerConfigInputs"),
    part("sameness", "AggregationKey"),
    part("hungry", "below_fair_share"),
    part("disliked", "untolerated_prefer_no_schedule"),
    part("facade", "API server"),
    part("twin", "duplicate"),
    part("twins", "duplicates"),
    part("ripe", "due, ready"),
    part("gist", "summary"),
    part("mend", "fix, repair"),
    part("mended", "fixed, repaired"),
    part("patience", "timeout"),
    part("outlets", "OutboundQueues"),
    part("hurry", "shutdown_now"),
    name("OnTheWay", "InflightWrites"),
    name("on_the_way", "inflight_writes"),
    name("Noted", "InflightGuard"),
    name("Kept", "ResourceStore"),
    name("PaperPod", "SimulatedPod"),
    name("EventNote", "EventRecord"),
    name("PodRows", "PodViews"),
    name("lean_spec", "trimmed_spec"),
    name("by_sight", "by_key"),
    name("set_out", "pretty_print"),
    name("is_odd", "needs_escaping"),
    name("drop_what_is_off", "drop_disabled_fields"),
    name("taken_and_ignored", "carry the call out or refuse it"),
    name("look_again", "requeue_after"),
    name("why_not", "launch_refusal"),
    name("second_look", "second_reconcile"),
    name("find_remains", "find_leftovers"),
    Banned {
        word: "Audience",
        form: Form::Name,
        instead: "BroadcastGroup",
        allowed: &["authentication", "token", "reviews"],
    },
    Banned {
        word: "Claims",
        form: Form::Name,
        instead: "Preconditions",
        allowed: &["authentication", "token"],
    },
];

/// This list and its tests, which name what is refused.
const OWN_FILES: &[&str] = &["xtask/src/tidy/vocabulary.rs", "xtask/src/tidy/vocabulary/tests.rs"];

/// Checks every Rust file, and the documents that git knows.
pub fn check(sources: &[Source]) -> anyhow::Result<Vec<Finding>> {
    let mut uses: BTreeMap<&str, Vec<String>> = BTreeMap::new();
    let documents = documents()?;
    for source in sources.iter().chain(&documents) {
        if !OWN_FILES.contains(&source.path.as_str()) {
            collect(source, &mut uses);
        }
    }
    let mut findings = Vec::new();
    for banned in BANNED {
        findings.extend(uses.remove(banned.word).unwrap_or_default().into_iter().map(|at| {
            Finding(format!("{at}: '{}' is private vocabulary; say {}", banned.word, banned.instead))
        }));
    }
    Ok(findings)
}

/// Every Markdown file of ours.
fn documents() -> anyhow::Result<Vec<Source>> {
    let listed = std::process::Command::new("git")
        .args(["ls-files", "--cached", "--others", "--exclude-standard", "*.md"])
        .output()
        .context("could not ask git for the documents")?;
    let paths = String::from_utf8_lossy(&listed.stdout).into_owned();
    let read = |path: &str| Some(Source { path: path.to_owned(), text: fs::read_to_string(path).ok()? });
    Ok(paths.lines().filter_map(read).collect())
}

/// Notes each use of a banned word, as `path:line`.
fn collect(source: &Source, uses: &mut BTreeMap<&'static str, Vec<String>>) {
    // The README's first paragraph may have its one joke.
    let skipped = if source.path == "README.md" { first_paragraph(&source.text) } else { 0 };
    for (index, line) in source.text.lines().enumerate().skip(skipped) {
        let is_prose = !source.path.ends_with(".rs") || line.trim_start().starts_with("//");
        for token in line.split(|c: char| !c.is_ascii_alphanumeric() && c != '_').filter(|t| !t.is_empty()) {
            let parts = parts(token);
            let of_token = BANNED.iter().filter(|banned| match banned.form {
                Form::Name => !is_prose && banned.word == token,
                Form::Part => parts.iter().any(|part| part == banned.word),
            });
            for banned in of_token.filter(|b| !b.allowed.iter().any(|path| source.path.contains(path))) {
                uses.entry(banned.word).or_default().push(format!("{}:{}", source.path, index + 1));
            }
        }
    }
}

/// How many lines end with the first paragraph below the title.
fn first_paragraph(text: &str) -> usize {
    let body = text.lines().position(|line| !line.is_empty() && !line.starts_with('#')).unwrap_or(0);
    text.lines().skip(body).position(str::is_empty).map_or(usize::MAX, |length| body + length)
}

/// The parts of an identifier in lower case: `HTTPOffer_wishes` has `http`, `offer` and `wishes`.
fn parts(token: &str) -> Vec<String> {
    let chars: Vec<char> = token.chars().collect();
    let mut parts = vec![String::new()];
    for (at, c) in chars.iter().enumerate() {
        let after_lower = at > 0 && !chars[at - 1].is_ascii_uppercase();
        let before_lower = chars.get(at + 1).is_some_and(char::is_ascii_lowercase);
        let starts = *c == '_' || (c.is_ascii_uppercase() && (after_lower || before_lower));
        if starts && parts.last().is_some_and(|part| !part.is_empty()) {
            parts.push(String::new());
        }
        if *c != '_'
            && let Some(last) = parts.last_mut()
        {
            last.push(c.to_ascii_lowercase());
        }
    }
    parts
}

#[cfg(test)]
mod tests;
