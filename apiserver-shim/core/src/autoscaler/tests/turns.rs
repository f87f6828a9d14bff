//! Which autoscaler is looked at when.

use super::*;
use crate::autoscaler::queue::LOOKS_MAX;

/// Autoscalers by namespace, created at [`STARTED`].
struct Turns {
    autoscaler: Autoscaler,
    objects: Vec<std::sync::Arc<Header>>,
    now: Seconds,
}

impl Turns {
    fn of(counts: &[(&str, usize)]) -> Turns {
        let mut turns = Turns { autoscaler: Autoscaler::default(), objects: Vec::new(), now: STARTED };
        for (namespace, count) in counts {
            turns.add(namespace, *count);
        }
        turns
    }

    fn add(&mut self, namespace: &str, count: usize) {
        for number in 0..count {
            let uid = format!("{namespace}-{number:03}");
            let created = crate::rows::rfc3339(self.now);
            let object = json!({"metadata": {"name": uid, "namespace": namespace, "uid": uid, "creationTimestamp": created}});
            self.objects.push(crate::testing::stored(&object).header.clone());
        }
    }

    /// The looks that begin so many seconds later.
    fn after(&mut self, seconds: i64) -> Vec<String> {
        self.now += seconds;
        self.autoscaler.observe(self.objects.iter().map(|header| &**header), self.now);
        let mut begun = Vec::new();
        while let Some((uid, _)) = self.autoscaler.next_look(self.now) {
            begun.push(uid);
        }
        begun
    }

    fn end(&mut self, uids: &[String], timed_out: bool) {
        uids.iter().for_each(|uid| self.autoscaler.ended(uid, timed_out, self.now));
    }
}

#[test]
fn a_new_one_is_due_after_a_period_and_then_every_period() {
    let mut turns = Turns::of(&[("ns", 1)]);
    let mut begun = Vec::new();
    for second in 0..50 {
        let looks = turns.after(i64::from(second > 0));
        begun.extend(looks.iter().map(|_| second));
        turns.end(&looks, false);
    }
    assert_eq!(begun, [15, 30, 45]);
    turns.objects.clear();
    turns.after(1);
    assert!(turns.autoscaler.known.is_empty(), "what is gone is forgotten");
}

#[test]
fn one_that_is_being_looked_at_is_not_looked_at_again() {
    let mut turns = Turns::of(&[("ns", 1)]);
    let looks = turns.after(15);
    assert_eq!(looks.len(), 1);
    assert!(turns.after(100).is_empty());
    turns.end(&looks, false);
    assert!(turns.after(14).is_empty(), "the period of a slow one begins at the end of its look");
    assert_eq!(turns.after(1), looks);
}

#[test]
fn slow_ones_leave_workers_to_the_others() {
    let mut turns = Turns::of(&[("good", 3)]);
    let good = turns.after(15);
    turns.end(&good, false);
    turns.add("slow", 100);
    let slow = turns.after(15);
    let (good, hung): (Vec<_>, Vec<_>) = slow.into_iter().partition(|uid| uid.starts_with("good"));
    assert_eq!((good.len(), hung.len()), (3, LOOKS_MAX / 2));
    turns.end(&good, false);
    // They hang until their time is over, as do the next of them; the others keep their period.
    let mut hung = hung;
    for _ in 0..20 {
        let begun = turns.after(15);
        let (good, more): (Vec<_>, Vec<_>) = begun.into_iter().partition(|uid| uid.starts_with("good"));
        assert_eq!(good.len(), 3);
        turns.end(&good, false);
        turns.end(&hung, true);
        assert!(more.is_empty(), "until then no worker is free for them");
        hung = turns.after(0);
        assert_eq!(hung.len(), LOOKS_MAX / 2);
    }
}

#[test]
fn the_namespace_with_the_fewest_looks_comes_first() {
    let mut turns = Turns::of(&[("a", 100), ("b", 2)]);
    let begun = turns.after(15);
    assert_eq!(begun.iter().filter(|uid| uid.starts_with('b')).count(), 2, "{begun:?}");
    turns.end(&begun[..1], true);
    turns.add("c", 1);
    turns.now += 15;
    assert_eq!(turns.after(0), ["c-000"]);
}

#[test]
fn one_that_times_out_waits_longer_each_time() {
    let mut turns = Turns::of(&[("ns", 1)]);
    let mut waits = Vec::new();
    let mut looks = turns.after(15);
    for timed_out in [true, true, true, true, false, false] {
        turns.now += if timed_out { 30 } else { 1 };
        turns.end(&looks, timed_out);
        let mut wait = 0;
        looks = loop {
            wait += 1;
            let looks = turns.after(1);
            if !looks.is_empty() {
                break looks;
            }
        };
        waits.push(wait);
    }
    assert_eq!(waits, [30, 60, 120, 120, 14, 14]);
}

#[test]
fn those_that_are_gone_are_named_once() {
    let mut turns = Turns::of(&[("ns", 2)]);
    let looks = turns.after(15);
    let one = turns.objects.split_off(1);
    let headers = |objects: &[std::sync::Arc<Header>]| objects.to_vec();
    let left = headers(&turns.objects);
    let gone = turns.autoscaler.observe(left.iter().map(|header| &**header), turns.now);
    assert_eq!(gone.into_iter().collect::<Vec<_>>(), [one[0].uid.clone()]);
    turns.end(&looks, false);
    assert!(turns.autoscaler.observe(left.iter().map(|header| &**header), turns.now).is_empty());
}
