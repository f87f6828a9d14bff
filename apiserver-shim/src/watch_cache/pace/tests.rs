//! One number at once, many of them seldom, the last one always.

use super::*;

#[tokio::test(start_paused = true)]
async fn the_first_is_passed_on_at_once_and_the_last_at_the_next_turn() {
    let pace = Pace::new();
    let mut due = pace.subscribe();
    let begun = Instant::now();
    let mut seen = Vec::new();
    pace.announce(1);
    due.changed().await.unwrap();
    seen.push((*due.borrow_and_update(), begun.elapsed()));
    for number in 2..100 {
        pace.announce(number);
    }
    due.changed().await.unwrap();
    seen.push((*due.borrow_and_update(), begun.elapsed()));
    tokio::time::sleep(PACE * 4).await;
    pace.announce(100);
    due.changed().await.unwrap();
    seen.push((*due.borrow_and_update(), begun.elapsed()));
    assert_eq!(seen, [(1, Duration::ZERO), (99, PACE), (100, PACE * 5)]);
}

#[tokio::test(start_paused = true)]
async fn one_who_comes_between_two_turns_hears_of_the_next() {
    let pace = Pace::new();
    pace.announce(1);
    let mut due = pace.subscribe();
    pace.announce(2);
    due.changed().await.unwrap();
    assert_eq!(*due.borrow_and_update(), 2);
}
