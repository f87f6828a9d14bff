//! Output without what differs from run to run: ages, times, uids, versions, generated names, addresses.

use std::sync::LazyLock;

use regex::{Captures, Regex};

/// The characters of generated names: no vowels, and no digits that look like letters.
const SAFE: &str = "[bcdfghjklmnpqrstvwxz2456789]";

/// Columns of ages in tables.
const AGES: &[&str] = &["AGE", "LAST SEEN", "FIRST SEEN", "DURATION", "LAST SCHEDULE"];

/// What is replaced, in this order.
static RULES: LazyLock<Vec<(Regex, &str)>> = LazyLock::new(|| {
    let rules = [
        ("containerd://[0-9a-f]{64}", "containerd://<container>"),
        ("sha256:[0-9a-f]{64}", "sha256:<digest>"),
        ("[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}", "<uid>"),
        // Agents are numbered as they register.
        (r"<uid>-S\d+", "<uid>-S<n>"),
        (r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?Z", "<time>"),
        (r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d \+0000 UTC", "<time>"),
        (r"(Mon|Tue|Wed|Thu|Fri|Sat|Sun), \d\d [A-Z][a-z]{2} \d{4} \d\d:\d\d:\d\d [+-]\d{4}", "<time>"),
        (r#"(resourceVersion"?: ")\d+""#, "${1}<version>\""),
        (r"(Resource Version:\s+)\d+", "${1}<version>"),
        // Events of a description.
        (r"(?m)^(\s+(?:Normal|Warning)\s+\S+\s+)\d\S*( \(x\d+ over \S+\))?", "${1}<age>"),
        (r"\b\d+[smhd](\d+[smh])? ago", "<age> ago"),
        (r"(?m)^(Duration:\s+)\d\S*", "${1}<age>"),
        (r#"(pod-template-hash"?[=:] ?"?)SAFE{6,10}"#, "${1}<hash>"),
        ("-SAFE{6,10}-SAFE{5}\\b", "-<hash>-<id>"),
        ("-SAFE{8,10}\\b", "-<hash>"),
        ("-SAFE{5}\\b", "-<id>"),
        (r"https://127\.0\.0\.1:\d+", "https://<server>"),
        // The machine's address, in the description of a Pod.
        (r"(?m)^(Node:\s+\S+/)\d+(\.\d+){3}$", "${1}<address>"),
        // Addresses of Services and Pods.
        (r"\b10\.(9[6-9]|1[01]\d|12[89]|1[3-9]\d|2\d\d)\.\d+\.\d+\b", "<ip>"),
        (r"\b3[0-2]\d{3}/(TCP|UDP)", "<port>/$1"),
    ];
    let rule = |(pattern, text): (&str, &'static str)| {
        let pattern = pattern.replace("SAFE", SAFE);
        (Regex::new(&pattern).expect("invariant: the patterns are valid"), text)
    };
    rules.into_iter().map(rule).collect()
});

static HEADER: LazyLock<Regex> =
    LazyLock::new(|| Regex::new(r"^[A-Z][A-Z]+( [A-Z]+)*(  |$)").expect("invariant: it is valid"));
static CELL: LazyLock<Regex> = LazyLock::new(|| Regex::new(r"\S+( \S+)*").expect("invariant: it is valid"));
static AGE: LazyLock<Regex> =
    LazyLock::new(|| Regex::new(r"^\d\S*( \(x\d+ over \S+\))?").expect("invariant: it is valid"));
static SPACES: LazyLock<Regex> = LazyLock::new(|| Regex::new(r"(\S) {2,}").expect("invariant: it is valid"));

/// Words of this run, and what is shown for them.
pub type Words<'a> = [(&'a str, &'a str)];

/// The lines of the output, made equal for all runs.
pub fn normal(output: &str, words: &Words<'_>) -> Vec<String> {
    let mut text = without_ages(output);
    for (word, shown) in words {
        text = with_word(&text, word, shown);
    }
    for (pattern, replacement) in RULES.iter() {
        text = pattern.replace_all(&text, *replacement).into_owned();
    }
    let narrow = |line: &str| {
        let line = SPACES.replace_all(line, |found: &Captures<'_>| format!("{}  ", &found[1]));
        line.trim_end().to_owned()
    };
    text.trim_end().lines().map(narrow).collect()
}

/// Replaces a word, but not a part of a longer one.
fn with_word(text: &str, word: &str, shown: &str) -> String {
    let (mut out, mut rest) = (String::new(), text);
    while let Some(at) = rest.find(word) {
        let (before, after) = (&rest[..at], &rest[at + word.len()..]);
        let joins = |letter: Option<char>| letter.is_some_and(|l| l.is_ascii_alphanumeric() || l == '-');
        let whole = !joins(before.chars().next_back()) && !joins(after.chars().next());
        out.push_str(before);
        out.push_str(if whole { shown } else { word });
        rest = after;
    }
    out + rest
}

/// Replaces the cells of the columns of ages, which begin where their titles do.
fn without_ages(output: &str) -> String {
    let mut columns: Vec<usize> = Vec::new();
    let mut text = String::new();
    for line in output.lines() {
        let mut line = line.to_owned();
        if HEADER.is_match(&line) && line.to_uppercase() == line {
            let cells = CELL.find_iter(&line).filter(|cell| AGES.contains(&cell.as_str()));
            columns = cells.map(|cell| cell.start()).collect();
        } else if line.trim().is_empty() {
            columns.clear();
        } else {
            for at in columns.iter().rev() {
                let Some(rest) = line.get(*at..) else { continue };
                let shown = AGE.replace(rest, "<age>").into_owned();
                line.replace_range(*at.., &shown);
            }
        }
        text += &line;
        text.push('\n');
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_differs_is_replaced() {
        let table = "NAME                   READY   AGE     NODE\nweb-57b4ccbd96-hcrls   1/1     2m10s   vm\n\n5m stays\n";
        assert_eq!(
            normal(table, &[("vm", "<node>")]),
            ["NAME  READY  AGE  NODE", "web-<hash>-<id>  1/1  <age>  <node>", "", "5m stays"]
        );
        let words = [("vm", "<node>")];
        assert_eq!(normal("node/vm vms vm-1 (vm)", &words), ["node/<node> vms vm-1 (<node>)"]);
        let described =
            "Events:\n  Normal  Started  5s (x2 over 1m)  kubelet  Container started\n    cpu:  10m\n";
        assert_eq!(
            normal(described, &[]),
            ["Events:", "  Normal  Started  <age>  kubelet  Container started", "    cpu:  10m"]
        );
        assert_eq!(normal("Node:   vm/192.0.2.2\n", &words), ["Node:  <node>/<address>"]);
        let yaml = "  resourceVersion: \"12\"\n  uid: 07c1cb3a-032d-4f4f-9c52-f0b0c209f727\n  at: 2026-01-02T03:04:05Z\n";
        assert_eq!(normal(yaml, &[]), ["  resourceVersion: \"<version>\"", "  uid: <uid>", "  at: <time>"]);
    }
}
