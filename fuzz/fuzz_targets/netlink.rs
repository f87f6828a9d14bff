//! The kernel's messages about its packet filter: nothing panics, and an entry that is read is deleted by attributes that it has.
#![no_main]

use executor_core::services::ctnetlink;
use executor_core::services::netlink::{Attributes, Replies, Reply};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    for reply in Replies(bytes) {
        let Ok(Reply::Message(_, attributes)) = reply else { continue };
        let Some(entry) = ctnetlink::entry(attributes) else { continue };
        let deletion = ctnetlink::delete(&entry);
        let Some(Ok(Reply::Message(_, key))) = Replies(&deletion).next() else { panic!("{deletion:?}") };
        for (kind, whole, _) in Attributes(key) {
            assert!(Attributes(attributes).any(|known| known.0 == kind && known.1 == whole));
        }
    }
});
