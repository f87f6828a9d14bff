//! Deduplication, exclusive processing, back-off, the rate limit of retries, and required revisions.

use std::time::{Duration, Instant};

use super::WorkQueue;

#[test]
fn a_key_is_deduplicated_and_requeued_if_added_while_busy() {
    let mut queue = WorkQueue::default();
    let now = Instant::now();
    queue.add("a", 0, now);
    queue.add("a", 0, now);
    assert_eq!(queue.take(0, now), Some("a"));
    queue.add("a", 0, now);
    assert_eq!(queue.take(0, now), None);
    queue.done(&"a", 0, false, now);
    assert_eq!(queue.take(0, now), Some("a"));
    queue.done(&"a", 0, false, now);
    assert_eq!(queue.take(0, now), None);
}

#[test]
fn a_key_waits_for_its_own_writes() {
    let mut queue = WorkQueue::default();
    let now = Instant::now();
    queue.add("a", 0, now);
    assert_eq!(queue.take(3, now), Some("a"));
    queue.done(&"a", 7, false, now);
    queue.add("a", 4, now);
    queue.add("b", 4, now);
    assert_eq!(queue.take(6, now), Some("b"));
    assert_eq!(queue.take(6, now), None);
    assert_eq!(queue.waits_for(), Some(7));
    assert_eq!(queue.take(7, now), Some("a"));
}

#[test]
fn failures_back_off_exponentially() {
    let mut queue = WorkQueue::default();
    let mut now = Instant::now();
    queue.add("a", 0, now);
    let mut delays = Vec::new();
    for _ in 0..20 {
        assert_eq!(queue.take(0, now), Some("a"));
        queue.done(&"a", 0, true, now);
        let due = queue.next_due().unwrap();
        delays.push(due - now);
        queue.wake(due - Duration::from_nanos(1));
        assert_eq!(queue.take(0, now), None);
        now = due;
        queue.wake(now);
    }
    assert_eq!(delays[0], Duration::from_millis(5));
    assert!(delays.windows(2).all(|w| w[0] * 2 == w[1] || w[1] == Duration::from_secs(1000)));
    assert_eq!(*delays.last().unwrap(), Duration::from_secs(1000));
}

#[test]
fn retries_of_many_keys_share_a_rate_limit() {
    let mut queue = WorkQueue::default();
    let now = Instant::now();
    let mut delays = Vec::new();
    for key in 0..120 {
        queue.add(key, 0, now);
        assert_eq!(queue.take(0, now), Some(key));
        queue.done(&key, 0, true, now);
        delays.push(queue.entries[&key].due.unwrap() - now);
    }
    assert!(delays[..100].iter().all(|delay| *delay == Duration::from_millis(5)));
    assert_eq!(delays[109], Duration::from_secs(1));
    assert_eq!(delays[119], Duration::from_secs(2));
}

#[test]
fn statistics_count_queued_and_processed_keys() {
    let mut queue = WorkQueue::default();
    let begin = Instant::now();
    let at = |seconds| begin + Duration::from_secs(seconds);
    queue.add("a", 0, at(0));
    queue.add("b", 9, at(0));
    queue.take(0, at(1));
    let stats = queue.stats(at(3));
    assert_eq!((stats.depth, stats.adds, stats.retries), (1, 2, 0));
    assert_eq!((stats.longest_running, stats.unfinished), (Duration::from_secs(2), Duration::from_secs(2)));
    queue.done(&"a", 0, true, at(5));
    let stats = queue.stats(at(5));
    assert_eq!((stats.retries, stats.work_duration.sum()), (1, Duration::from_secs(4)));
    assert_eq!(stats.queue_duration.sum(), Duration::from_secs(1));
    assert_eq!(stats.work_duration.buckets().last(), Some((1000.0, 1)));
    assert_eq!(stats.work_duration.count(), 1);
}
