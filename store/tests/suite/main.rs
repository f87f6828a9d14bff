//! One suite for all backends: every guarantee of the `Store` trait is one function in `laws`, and each backend is one
//! line below. Plus the tests of stores on disk.

#![allow(clippy::unwrap_used, reason = "every function here is part of a test")]

mod crash;
mod disk;
mod etcd_process;
mod laws;
mod model;
mod opened;
mod reconnect;
mod reversed;

use opened::Opened;

/// Runs every guarantee with one backend.
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

macro_rules! suite {
    ($($name:ident => $open:expr;)*) => {
        $(backend!($name, $open, [
            an_empty_store_is_at_one,
            create_update_delete_with_preconditions,
            a_conflict_returns_the_current_values,
            a_transaction_is_all_or_nothing,
            writes_without_effect_keep_the_revision,
            wrong_transactions_are_refused,
            a_prefix_is_a_string_prefix,
            pages_are_one_consistent_listing,
            long_listings_are_complete,
            old_revisions_can_be_listed,
            compaction_removes_old_revisions,
            a_watch_misses_nothing_and_repeats_nothing,
            a_watch_sees_transactions_whole,
            a_watch_has_previous_values,
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
    transformed => crate::opened::transformed();
}
