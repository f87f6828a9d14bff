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
    tokio::time::sleep(PACE_MIN * 4).await;
    pace.announce(100);
    due.changed().await.unwrap();
    seen.push((*due.borrow_and_update(), begun.elapsed()));
    assert_eq!(seen, [(1, Duration::ZERO), (99, PACE_MIN), (100, PACE_MIN * 5)]);
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

#[test]
fn the_more_there_are_the_longer_is_a_turn() {
    let turns = [1, 100, 500, 5_000].map(|watchers| interval(watchers).as_millis());
    assert_eq!(turns, [2, 10, 50, 100]);
}
