//! One suite over all backends: every law of the `Store` trait is one function in `laws`, and each
//! backend is one line below. Beside it, what only a store on disk has to show.

#![allow(clippy::unwrap_used, reason = "every function here is part of a test")]

mod crash;
mod disk;
mod etcd_process;
mod laws;
mod model;
mod opened;
mod reconnect;

use opened::Opened;

/// Runs every law against one backend.
macro_rules! backend {
    ($name:ident, $open:expr, [$($law:ident),* $(,)?]) => {
        mod $name {
            $(
                #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
                async fn $law() {
                    let opened: crate::Opened = $open.await;
                    crate::laws::$law(opened.store()).await;
                }
            )*
        }
    };
}

/// All backends keep all laws.
macro_rules! suite {
    ($($name:ident => $open:expr;)*) => {
        $(backend!($name, $open, [
            an_empty_store_is_at_one,
            create_update_delete_with_preconditions,
            a_conflict_tells_what_is_there,
            a_transaction_is_all_or_nothing,
            what_changes_nothing_keeps_the_revision,
            wrong_transactions_are_refused,
            a_prefix_is_characters_not_a_path,
            pages_are_one_consistent_listing,
            long_listings_are_whole,
            the_past_can_be_listed,
            compaction_takes_the_past,
            a_watch_misses_nothing_and_repeats_nothing,
            a_watch_sees_transactions_whole,
            a_watch_knows_what_was_before,
            a_watch_may_start_in_the_future,
            progress_comes_after_everything_before_it,
            concurrent_writers_are_serialised,
            values_of_any_bytes_survive,
        ]);)*
    };
}

suite! {
    memory => crate::opened::memory();
    embedded => crate::opened::embedded();
    etcd => crate::opened::etcd();
}
