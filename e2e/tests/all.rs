//! Every black-box test, in one program. Run by `cargo xtask test`, one test at a time.

#[path = "all/walk.rs"]
mod walk;
