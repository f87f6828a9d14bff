//! Parses the output of `/metrics`.

use std::collections::{BTreeMap, BTreeSet};

/// A scrape: the value of each sample by name with labels, and the type of each metric.
#[derive(Debug, Default)]
pub struct Scrape {
    samples: BTreeMap<String, f64>,
    types: BTreeMap<String, String>,
}

impl Scrape {
    /// Parses Prometheus' text format strictly.
    pub fn parse(text: &str) -> Scrape {
        let mut scrape = Scrape::default();
        assert!(text.ends_with('\n'));
        for line in text.lines() {
            if let Some(comment) = line.strip_prefix("# ") {
                let mut words = comment.splitn(3, ' ');
                match (words.next().unwrap(), words.next().unwrap(), words.next().unwrap()) {
                    ("HELP", _, _) => {}
                    ("TYPE", name, kind @ ("counter" | "gauge" | "histogram")) => {
                        assert!(scrape.types.insert(name.to_owned(), kind.to_owned()).is_none(), "{line}");
                    }
                    _ => panic!("not a comment of the format: {line}"),
                }
                continue;
            }
            let (sample, value) = line.rsplit_once(' ').unwrap();
            let value: f64 = value.parse().unwrap();
            assert!(scrape.types.contains_key(family(&scrape.types, sample)), "no type: {line}");
            assert!(scrape.samples.insert(sample.to_owned(), value).is_none(), "twice: {line}");
        }
        scrape
    }

    /// The value of a sample; `None` if absent.
    pub fn get(&self, sample: &str) -> Option<f64> {
        self.samples.get(sample).copied()
    }

    /// `name type {labels}` of each metric.
    #[allow(dead_code, reason = "one of the two binaries with this file asks for it")]
    pub fn shape(&self) -> String {
        let mut labels: BTreeMap<&str, BTreeSet<&str>> = BTreeMap::new();
        for sample in self.samples.keys() {
            let of_family = labels.entry(family(&self.types, sample)).or_default();
            let Some((_, rest)) = sample.split_once('{') else { continue };
            let names = rest.trim_end_matches('}').split("\",").map(|pair| pair.split_once('=').unwrap().0);
            of_family.extend(names.filter(|name| *name != "le"));
        }
        let line = |(name, labels): (&&str, &BTreeSet<&str>)| {
            let labels: Vec<&str> = labels.iter().copied().collect();
            format!("{name} {} {{{}}}\n", self.types[*name], labels.join(","))
        };
        labels.iter().map(line).collect()
    }
}

/// The metric that a sample belongs to.
fn family<'a>(types: &BTreeMap<String, String>, sample: &'a str) -> &'a str {
    let name = sample.split('{').next().unwrap();
    let parts = ["_bucket", "_sum", "_count"].iter().find_map(|part| name.strip_suffix(part));
    parts.filter(|name| types.get(*name).is_some_and(|kind| kind == "histogram")).unwrap_or(name)
}
