//! Watches: what they see, from which version, with which selector, in which order.

use std::time::Duration;

use anyhow::ensure;
use serde_json::{Value, json};

use crate::{
    Test,
    client::{Api, Namespace, name, version},
};

pub const TESTS: &[Test] = &[
    ("restart_from_the_last_version", restart_from_the_last_version),
    ("start_from_a_version", start_from_a_version),
    ("see_each_change_by_their_selector", see_each_change_by_their_selector),
    (
        "see_a_deletion_when_the_selector_no_longer_matches",
        see_a_deletion_when_the_selector_no_longer_matches,
    ),
    ("have_one_order", have_one_order),
];

/// How long a watch is observed that must see nothing.
const QUIET: Duration = Duration::from_millis(500);

struct Maps<'a> {
    api: &'a Api,
    collection: String,
    _namespace: Namespace<'a>,
}

impl<'a> Maps<'a> {
    fn new(api: &'a Api) -> anyhow::Result<Self> {
        let namespace = api.namespace("watch")?;
        Ok(Maps { api, collection: namespace.path("v1", "configmaps"), _namespace: namespace })
    }

    fn create(&self, name: &str, label: &str) -> anyhow::Result<Value> {
        let object =
            json!({"metadata": {"name": name, "labels": {"watched": label}}, "data": {"count": "0"}});
        self.api.create(&self.collection, &object)?.with(201)
    }

    fn count(&self, name: &str, count: u32) -> anyhow::Result<Value> {
        let patch = json!({"data": {"count": count.to_string()}});
        self.api.merge(&format!("{}/{name}", self.collection), &patch)
    }

    fn delete(&self, name: &str) -> anyhow::Result<()> {
        self.api.delete(&format!("{}/{name}", self.collection))?.ok().map(drop)
    }

    /// A watch of the objects with one of these labels.
    fn watch(&self, labels: &str, from: &str) -> anyhow::Result<crate::client::Watch> {
        let from = if from.is_empty() { String::new() } else { format!("&resourceVersion={from}") };
        let path = format!("{}?labelSelector=watched%20in%20%28{labels}%29{from}", self.collection);
        self.api.watch(&path)
    }
}

fn see_each_change_by_their_selector(api: &Api) -> anyhow::Result<()> {
    let maps = Maps::new(api)?;
    let (a, b) = (maps.watch("a", "")?, maps.watch("b", "")?);
    let both = maps.watch("a%2Cb", "")?;
    maps.create("a", "a")?;
    maps.count("a", 1)?;
    maps.count("a", 2)?;
    maps.delete("a")?;
    for watch in [&a, &both] {
        watch.expect("ADDED")?;
        for count in ["1", "2"] {
            let seen = watch.expect("MODIFIED")?;
            ensure!(seen["data"]["count"] == count, "{seen}");
        }
        let seen = watch.expect("DELETED")?;
        ensure!(seen["data"]["count"] == "2", "{seen}");
    }
    b.nothing_for(QUIET)?;
    maps.create("b", "b")?;
    maps.delete("b")?;
    for watch in [&b, &both] {
        watch.expect("ADDED")?;
        watch.expect("DELETED")?;
    }
    a.nothing_for(QUIET)
}

fn start_from_a_version(api: &Api) -> anyhow::Result<()> {
    let maps = Maps::new(api)?;
    maps.create("one", "a")?;
    let first = maps.count("one", 1)?;
    let second = maps.count("one", 2)?;
    maps.delete("one")?;
    let watch = maps.watch("a", version(&first))?;
    let seen = watch.expect("MODIFIED")?;
    ensure!(version(&seen) == version(&second) && seen["data"]["count"] == "2", "{seen}");
    watch.expect("DELETED").map(drop)
}

fn restart_from_the_last_version(api: &Api) -> anyhow::Result<()> {
    let maps = Maps::new(api)?;
    let watch = maps.watch("a", "")?;
    maps.create("one", "a")?;
    maps.count("one", 1)?;
    watch.expect("ADDED")?;
    let last = watch.expect("MODIFIED")?;
    drop(watch);
    maps.count("one", 2)?;
    maps.delete("one")?;
    let watch = maps.watch("a", version(&last))?;
    let seen = watch.expect("MODIFIED")?;
    ensure!(seen["data"]["count"] == "2", "{seen}");
    watch.expect("DELETED").map(drop)
}

fn see_a_deletion_when_the_selector_no_longer_matches(api: &Api) -> anyhow::Result<()> {
    let maps = Maps::new(api)?;
    let relabel = |label: &str| {
        let patch = json!({"metadata": {"labels": {"watched": label}}});
        api.merge(&format!("{}/one", maps.collection), &patch)
    };
    let watch = maps.watch("a", "")?;
    maps.create("one", "a")?;
    maps.count("one", 1)?;
    relabel("b")?;
    watch.expect("ADDED")?;
    watch.expect("MODIFIED")?;
    let gone = watch.expect("DELETED")?;
    ensure!(gone["data"]["count"] == "1", "{gone}");
    maps.count("one", 2)?;
    watch.nothing_for(QUIET)?;
    relabel("a")?;
    let back = watch.expect("ADDED")?;
    ensure!(back["data"]["count"] == "2", "{back}");
    maps.count("one", 3)?;
    watch.expect("MODIFIED")?;
    maps.delete("one")?;
    watch.expect("DELETED").map(drop)
}

/// Watches that start at every version of a busy collection see the same versions in the same order.
fn have_one_order(api: &Api) -> anyhow::Result<()> {
    const CHANGES: u32 = 30;
    let maps = Maps::new(api)?;
    let start = version(&api.get(&maps.collection)?.ok()?).to_owned();
    let mut versions = vec![start];
    let events = std::thread::scope(|scope| {
        let writer = scope.spawn(|| {
            for number in 0..CHANGES {
                maps.create(&format!("map-{number}"), "a")?;
                maps.count(&format!("map-{}", number / 2), number)?;
                if number % 3 == 0 {
                    maps.delete(&format!("map-{number}"))?;
                    maps.create(&format!("map-{number}"), "a")?;
                }
            }
            anyhow::Ok(())
        });
        let first = maps.watch("a", &versions[0])?;
        let mut events = Vec::new();
        for _ in 0..CHANGES {
            let (kind, object) = first.next()?;
            events.push((kind, name(&object).to_owned(), version(&object).to_owned()));
        }
        writer.join().map_err(|_| anyhow::anyhow!("the writer panicked"))??;
        anyhow::Ok(events)
    })?;
    versions.extend(events.iter().map(|(_, _, version)| version.clone()));
    for (start, from) in versions.iter().enumerate() {
        let watch = maps.watch("a", from)?;
        for expected in &events[start..] {
            let (kind, object) = watch.next()?;
            let seen = (kind, name(&object).to_owned(), version(&object).to_owned());
            ensure!(seen == *expected, "from {from}: {seen:?} instead of {expected:?}");
        }
    }
    Ok(())
}
