//! The printed table: one row per figure, with its target, upstream's figure on a similar machine, the physical limit, and
//! what separates the figure from the limit.

use std::collections::BTreeMap;
use std::fmt::Write;

use serde_json::Value;

use super::field;

/// The measurements by name; those of the peer have the prefix `peer_`.
#[derive(Default)]
pub struct Figures(BTreeMap<String, f64>);

impl Figures {
    /// Sets one figure.
    pub fn set(&mut self, name: &str, value: f64) {
        self.0.insert(name.to_owned(), value);
    }

    /// Adds the figures of a load's JSON line, and prints the line.
    pub fn line(&mut self, whose: &str, line: Value) {
        println!("{whose}: {line}");
        let prefix = if whose == "peer" { "peer_" } else { "" };
        let bench = line["bench"].as_str().unwrap_or_default();
        let wanted = [
            "per_s",
            "server_cpu_us_each",
            "server_cpu_us_each_without_creates",
            "server_cpu_us_per_object",
            "p50_ms",
            "p99_ms",
            "no_label_ms",
            "no_field_ms",
            "json_ms",
            "protobuf_ms",
            "wall_ms",
            "per_minute",
            "mean_gap_percent",
            "idle_percent",
        ];
        for name in wanted {
            if let Some(value) = field(&line, name) {
                self.0.insert(format!("{prefix}{bench}.{name}"), value);
            }
        }
    }

    /// Adds the figures of the allocator's benchmark: rows of full cycles, and shorter ones of single events.
    pub fn offer_cycle(&mut self, text: &str) -> anyhow::Result<()> {
        for line in text.lines() {
            let columns: Vec<&str> = line.split_whitespace().collect();
            match *columns {
                ["10000", "100", fresh, refused, ..] => {
                    self.set("offer_cycle_fresh_ms", fresh.parse()?);
                    self.set("offer_cycle_refused_ms", refused.parse()?);
                }
                ["20000", "2000", fresh, _, ..] => self.set("offer_cycle_large_ms", fresh.parse()?),
                ["1000", "100", event] => self.set("offer_event_small_us", event.parse()?),
                ["100000", "100", event] => self.set("offer_event_large_us", event.parse()?),
                _ => {}
            }
        }
        anyhow::ensure!(self.get("offer_cycle_large_ms").is_some(), "it printed no full cycle:\n{text}");
        Ok(())
    }

    fn get(&self, name: &str) -> Option<f64> {
        self.0.get(name).copied()
    }
}

/// One row: its figure, and the known numbers beside it. `upstream` was measured on a similar machine (2 cores, API server
/// 1.36 with etcd 3.6, and the scheduler where one takes part).
struct Row {
    what: &'static str,
    figure: &'static str,
    unit: &'static str,
    target: &'static str,
    upstream: &'static str,
    limit: &'static str,
    between: &'static str,
}

const fn row(what: &'static str, figure: &'static str, unit: &'static str) -> Row {
    Row { what, figure, unit, target: "-", upstream: "-", limit: "-", between: "-" }
}

const ROWS: &[Row] = &[
    Row {
        upstream: "716–1,194",
        limit: "one fdatasync of 131 µs, shared by a group",
        between: "TLS, HTTP and JSON on the cores that the client shares",
        ..row("durable Pod creates", "creates.per_s", "/s")
    },
    Row {
        upstream: "1,420",
        limit: "about 25 µs: TLS and HTTP 8, copy and journal 1, decoding",
        between: "JSON both ways, defaults, validation, admission",
        ..row("  server CPU per create", "creates.server_cpu_us_each", "µs")
    },
    Row {
        upstream: "66–131",
        limit: "0.13 (one sync)",
        between: "waiting for a core",
        ..row("  p99", "creates.p99_ms", "ms")
    },
    Row {
        target: "≤ 60 more than without",
        limit: "the object as values once, and a few look-ups",
        between: "decoding the object for CEL",
        ..row("  through one policy in CEL", "policy.server_cpu_us_each", "µs")
    },
    Row {
        target: "≤ 150",
        limit: "that of a GET, and a parse of both objects",
        between: "YAML, ownership of fields, defaults, validation, comparison",
        ..row("server CPU per apply without a change", "applies.server_cpu_us_each", "µs")
    },
    Row {
        limit: "that of a create, and a parse of the stored object",
        between: "the patch, defaults, validation, admission, ownership of fields",
        ..row("server CPU per patch of a Pod", "patches.server_cpu_us_each", "µs")
    },
    Row {
        upstream: "≈ 244 (bind alone)",
        limit: "about 40,000 for both cores, client included",
        between: "two writes a Pod (create; binding with Event and status), each watched by all who follow Pods",
        ..row("create→bound, hollow nodes", "bind.per_s", "/s")
    },
    Row {
        target: "≤ 500",
        upstream: "7,050",
        limit: "about 25 µs, of which placing 2.4 (11 cold misses)",
        between: "JSON, watch caches, the kernel's task, the hollow agents themselves (counted here)",
        ..row("  server CPU per Pod", "bind.server_cpu_us_each", "µs")
    },
    Row {
        limit: "0.6: three syncs in a row, and hops",
        between: "32 clients that never wait: the Pods queue for two cores",
        ..row("  p99 of a Pod", "bind.p99_ms", "ms")
    },
    Row {
        target: "≤ 3",
        upstream: "11.4",
        limit: "0.8: copy 0.2, AES 0.4, framing and write 0.2",
        between: "TLS and TCP for each connection, one wake-up a watcher and turn; the creates",
        ..row("watch delivery to 500, CPU", "fanout.server_cpu_us_each", "µs")
    },
    Row {
        limit: "0.8",
        between: "two copies more than needed (frames into a write, that into records), HTTP/2 frames of 16 KiB",
        ..row("  without the creates", "fanout.server_cpu_us_each_without_creates", "µs")
    },
    Row {
        upstream: "96,700",
        limit: "1.2 million a core",
        between: "the client reads on the same cores",
        ..row("  deliveries", "fanout.per_s", "/s")
    },
    Row {
        upstream: "2,071",
        limit: "about 125,000 a core at 8 µs",
        between: "TLS, HTTP framing, access checks",
        ..row("GET", "get.per_s", "/s")
    },
    Row {
        limit: "8: TLS and HTTP both ways",
        between: "three tasks woken a request (connection, stream, connection), routing, access checks",
        ..row("  server CPU per GET", "get.server_cpu_us_each", "µs")
    },
    Row {
        limit: "memory copy: 5.9 GB/s",
        between: "TLS of the body on both sides; the client parses nothing",
        ..row("LIST of 1,000 Pods", "list.per_s", "/s")
    },
    Row {
        limit: "0.6: copy 0.2, AES 0.4",
        between: "two copies more than needed, HTTP/2 frames of 16 KiB, the socket's copy",
        ..row("  server CPU per object", "list.server_cpu_us_per_object", "µs")
    },
    Row {
        target: "≤ 5",
        limit: "1.5: a walk over 13 MB",
        between: "nodes of the tree that are not in the cache",
        ..row("LIST of 200,000 Pods, no label matches, CPU", "large.no_label_ms", "ms")
    },
    Row { target: "≤ 5", ..row("  no field matches", "large.no_field_ms", "ms") },
    Row {
        target: "≤ 400",
        limit: "130: copy and encryption of 140 MB",
        between: "reading JSON, which is what memory has",
        ..row("  all, in protobuf", "large.protobuf_ms", "ms")
    },
    Row { ..row("  all, in JSON", "large.json_ms", "ms") },
    Row {
        target: "≤ 60",
        upstream: "372–390 (no agent, no controllers)",
        limit: "the program's pages that are touched",
        between: "allocator arenas, TLS, threads' stacks",
        ..row("idle RSS of `up`", "idle_mib", "MiB")
    },
    Row {
        limit: "the same pages once more",
        between: "a process of its own, so that Pods outlive the agent",
        ..row("  with its executor", "idle_family_mib", "MiB")
    },
    Row {
        upstream: "1,670",
        limit: "wire size: 25,000 objects of 1.3 KiB = 32 MiB",
        between: "index, watch caches, events' history, the scheduler's and the kernel's rows",
        ..row("RSS, hollow nodes + twice the Pods", "loaded_mib", "MiB")
    },
    Row {
        upstream: "2,100–2,300",
        target: "≤ 300",
        limit: "reading the state; making a CA once",
        between: "keys and certificates at the first start",
        ..row("exec→/readyz, first start", "ready_first_ms", "ms")
    },
    Row {
        target: "≤ 300",
        upstream: "2,100–2,300",
        limit: "reading the state",
        between: "opening the store, filling the watch caches",
        ..row("exec→/readyz, again", "ready_again_ms", "ms")
    },
    Row {
        target: "≤ 100",
        upstream: "≈ 500 (Mesos 1.8, by its own figures)",
        limit: "≈ 4: 10,000 × (comparisons 0.1 + bookkeeping 0.3 µs)",
        between: "resource arithmetic on exact values",
        ..row("offer cycle 10,000 × 100", "offer_cycle_fresh_ms", "ms")
    },
    Row {
        target: "≤ 100",
        limit: "≈ 10: a million pairs at one comparison of 10 ns",
        between: "a refusal is looked up for each pair, exactly as for a few",
        ..row("  everything refused", "offer_cycle_refused_ms", "ms")
    },
    Row {
        target: "≤ 50",
        upstream: "≈ 3,800 (Mesos 1.8, by its own figures)",
        limit: "≈ 8: 20,000 × (comparisons 0.1 + bookkeeping 0.3 µs)",
        between: "resource arithmetic on exact values; 2,000 siblings in order",
        ..row("offer cycle 20,000 × 2,000", "offer_cycle_large_ms", "ms")
    },
    Row { ..row("  one event, 1,000 agents", "offer_event_small_us", "µs") },
    Row {
        target: "as with 1,000 agents",
        between: "memory that is not in the processor's caches",
        ..row("  one event, 100,000 agents", "offer_event_large_us", "µs")
    },
    Row {
        target: "≤ 100",
        upstream: "50,500 (Mesos 1.11)",
        limit: "≈ 50: 50,000 offers × (allocation, message and decline 2 µs), both cores",
        between: "2,500 answers over HTTP; each framework decides on its share of agents at a time",
        ..row("1,000 agents shown to 50 frameworks, HTTP", "offers.wall_ms", "ms")
    },
    Row { ..row("  server CPU per offer", "offers.server_cpu_us_each", "µs") },
    Row {
        target: "≥ 100,000",
        between: "two acknowledgements over HTTP for each task",
        ..row("tasks launched a minute, HTTP", "launches.per_minute", "")
    },
    Row { ..row("  server CPU per launch", "launches.server_cpu_us_each", "µs") },
    Row {
        target: "≤ 1",
        between: "whole Pods and tasks; offers on their way",
        ..row("Pods and tasks at full rate: distance from the weights", "shares.mean_gap_percent", "%")
    },
    Row { ..row("  idle while both want more", "shares.idle_percent", "%") },
];

/// The table as text, below a line that describes the run.
pub fn render(what: &str, figures: &Figures) -> String {
    let head = ["", "ours", "target", "peer, this run", "upstream", "physical limit", "what stands between"];
    let mut lines: Vec<[String; 7]> = vec![head.map(str::to_owned)];
    for row in ROWS {
        let shown = |name: &str| {
            figures.get(name).map_or("-".to_owned(), |value| format!("{} {}", number(value), row.unit))
        };
        lines.push([
            row.what.to_owned(),
            shown(row.figure),
            row.target.to_owned(),
            shown(&format!("peer_{}", row.figure)),
            row.upstream.to_owned(),
            row.limit.to_owned(),
            row.between.to_owned(),
        ]);
    }
    let widths: [usize; 7] = std::array::from_fn(|column| {
        lines.iter().map(|line| line[column].chars().count()).max().unwrap_or(0)
    });
    let mut text = format!("{what}\n\n");
    for line in &lines {
        let cells = line.iter().zip(widths).map(|(cell, width)| format!("{cell:<width$}"));
        let joined = cells.collect::<Vec<_>>().join("  ");
        // Writing to a String cannot fail.
        let _ = writeln!(text, "{}", joined.trim_end());
    }
    text
}

/// Formats with the significant digits and thousands separators.
fn number(value: f64) -> String {
    if value < 100.0 {
        return format!("{value:.1}");
    }
    let digits = format!("{value:.0}");
    let mut text = String::new();
    for (at, digit) in digits.chars().enumerate() {
        if at > 0 && (digits.len() - at) % 3 == 0 {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

#[cfg(test)]
mod tests;
