//! Small logs, read with all options.

use std::{
    io::Write,
    sync::atomic::{AtomicBool, Ordering},
};

use expect_test::{Expect, expect};

use super::*;

const LINES: &str = "2026-01-01T00:00:01Z stdout F one\n\
    2026-01-01T00:00:02Z stderr P tw\n\
    2026-01-01T00:00:02Z stderr F o\n\
    2026-01-01T00:00:03Z stdout F three\n";

async fn collect(dir: &Path, options: &LogOptions, runs: impl Fn() -> bool) -> String {
    let (pieces, mut receiver) = mpsc::channel::<Bytes>(4);
    let collect = async {
        let mut text = Vec::new();
        while let Some(piece) = receiver.recv().await {
            text.extend_from_slice(piece.as_ref());
        }
        String::from_utf8(text).unwrap()
    };
    let read = async {
        read(dir, 0, options, runs, &pieces).await.unwrap();
        drop(pieces);
    };
    tokio::join!(collect, read).0
}

fn check(options: LogOptions, expected: Expect) {
    let dir = tempfile::tempdir().unwrap();
    std::fs::write(dir.path().join("0.log"), LINES).unwrap();
    std::fs::write(dir.path().join("0.log.1"), "2026-01-01T00:00:00Z stdout F zero\n").unwrap();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    expected.assert_eq(&runtime.block_on(collect(dir.path(), &options, || false)));
}

#[test]
fn all_log_options() {
    check(
        LogOptions::default(),
        expect![[r#"
        zero
        one
        two
        three
    "#]],
    );
    check(
        LogOptions { tail_lines: Some(2), ..Default::default() },
        expect![[r#"
        o
        three
    "#]],
    );
    check(
        LogOptions { tail_lines: Some(5), ..Default::default() },
        expect![[r#"
        zero
        one
        two
        three
    "#]],
    );
    check(LogOptions { tail_lines: Some(0), ..Default::default() }, expect![""]);
    check(
        LogOptions { timestamps: true, tail_lines: Some(3), ..Default::default() },
        expect![[r#"
        2026-01-01T00:00:02Z two
        2026-01-01T00:00:03Z three
    "#]],
    );
    check(
        LogOptions { since: Some("2026-01-01T00:00:03Z".parse().unwrap()), ..Default::default() },
        expect![[r#"
        three
    "#]],
    );
    check(
        LogOptions { limit_bytes: Some(7), ..Default::default() },
        expect![[r#"
        zero
        on"#]],
    );
}

#[test]
fn following_continues_across_a_rotation() {
    rotated_and_ended_after(LOOK_EVERY * 3);
}

#[test]
fn lines_between_a_rotation_and_the_end_are_read() {
    rotated_and_ended_after(Duration::ZERO);
}

fn rotated_and_ended_after(pause: Duration) {
    let dir = tempfile::tempdir().unwrap();
    let live = dir.path().join("0.log");
    std::fs::write(&live, "2026-01-01T00:00:01Z stdout F one\n2026-01-01T00:00:02Z std").unwrap();
    let runs = AtomicBool::new(true);
    let options = LogOptions { follow: true, ..Default::default() };
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let text = runtime.block_on(async {
        let act = async {
            tokio::task::yield_now().await;
            std::fs::OpenOptions::new().append(true).open(&live).unwrap().write_all(b"out F two\n").unwrap();
            std::fs::rename(&live, dir.path().join("0.log.1")).unwrap();
            std::fs::write(&live, "2026-01-01T00:00:03Z stdout F three\n").unwrap();
            tokio::time::sleep(pause).await;
            runs.store(false, Ordering::Relaxed);
        };
        tokio::join!(collect(dir.path(), &options, || runs.load(Ordering::Relaxed)), act).0
    });
    assert_eq!(text, "one\ntwo\nthree\n");
}
