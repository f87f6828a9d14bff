//! The first number is passed on at once, later ones are coalesced, and the last one always arrives.

use super::*;

#[tokio::test(start_paused = true)]
async fn the_first_number_passes_at_once_and_the_last_at_the_next_tick() {
    let debouncer = Debouncer::new();
    let mut received = debouncer.subscribe();
    let begun = Instant::now();
    let mut seen = Vec::new();
    debouncer.notify(1);
    received.changed().await.unwrap();
    seen.push((*received.borrow_and_update(), begun.elapsed()));
    for number in 2..100 {
        debouncer.notify(number);
    }
    received.changed().await.unwrap();
    seen.push((*received.borrow_and_update(), begun.elapsed()));
    tokio::time::sleep(INTERVAL_MIN * 4).await;
    debouncer.notify(100);
    received.changed().await.unwrap();
    seen.push((*received.borrow_and_update(), begun.elapsed()));
    assert_eq!(seen, [(1, Duration::ZERO), (99, INTERVAL_MIN), (100, INTERVAL_MIN * 5)]);
}

#[tokio::test(start_paused = true)]
async fn a_subscriber_between_two_ticks_gets_the_next_number() {
    let debouncer = Debouncer::new();
    debouncer.notify(1);
    let mut received = debouncer.subscribe();
    debouncer.notify(2);
    received.changed().await.unwrap();
    assert_eq!(*received.borrow_and_update(), 2);
}

#[test]
fn the_interval_grows_with_the_number_of_watchers() {
    let intervals = [1, 100, 500, 5_000].map(|watchers| interval(watchers).as_millis());
    assert_eq!(intervals, [2, 10, 50, 100]);
}
