//! The work queue: each key once, never two looks at a time, back-off, and revisions that must have been seen.

use std::time::{Duration, Instant};

use super::queue::WorkQueue;

#[test]
fn a_key_is_looked_at_once_and_again_if_asked_meanwhile() {
    let mut queue = WorkQueue::default();
    let now = Instant::now();
    queue.add("a", 0);
    queue.add("a", 0);
    assert_eq!(queue.take(0), Some("a"));
    queue.add("a", 0);
    assert_eq!(queue.take(0), None);
    queue.done(&"a", 0, false, now);
    assert_eq!(queue.take(0), Some("a"));
    queue.done(&"a", 0, false, now);
    assert_eq!(queue.take(0), None);
}

#[test]
fn a_key_waits_for_what_it_wrote() {
    let mut queue = WorkQueue::default();
    queue.add("a", 0);
    assert_eq!(queue.take(3), Some("a"));
    queue.done(&"a", 7, false, Instant::now());
    queue.add("a", 4);
    queue.add("b", 4);
    assert_eq!(queue.take(6), Some("b"));
    assert_eq!(queue.take(6), None);
    assert_eq!(queue.waits_for(6), Some(7));
    assert_eq!(queue.take(7), Some("a"));
}

#[test]
fn failures_rest_longer_and_longer() {
    let mut queue = WorkQueue::default();
    let mut now = Instant::now();
    queue.add("a", 0);
    let mut rests = Vec::new();
    for _ in 0..16 {
        assert_eq!(queue.take(0), Some("a"));
        queue.done(&"a", 0, true, now);
        let due = queue.next_due().unwrap();
        rests.push(due - now);
        queue.wake(due - Duration::from_nanos(1));
        assert_eq!(queue.take(0), None);
        now = due;
        queue.wake(now);
    }
    assert!(rests.windows(2).all(|w| w[0] <= w[1]));
    assert_eq!(*rests.last().unwrap(), Duration::from_secs(60));
}
