//! Small logs, read with all options.

use std::{
    io::Write,
    sync::atomic::{AtomicBool, Ordering},
};

use executor_core::log_render::{RenderOptions, StreamSelection};
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

fn tail(lines: u64) -> LogOptions {
    LogOptions { tail_lines: Some(lines), ..Default::default() }
}

fn render(render: RenderOptions) -> LogOptions {
    LogOptions { render, ..Default::default() }
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
        tail(2),
        expect![[r#"
        two
        three
    "#]],
    );
    check(
        tail(5),
        expect![[r#"
        zero
        one
        two
        three
    "#]],
    );
    check(tail(0), expect![""]);
    check(
        LogOptions {
            tail_lines: Some(2),
            ..render(RenderOptions { timestamps: true, ..Default::default() })
        },
        expect![[r#"
        2026-01-01T00:00:02.000000000Z two
        2026-01-01T00:00:03.000000000Z three
    "#]],
    );
    let since = Some("2026-01-01T00:00:03Z".parse().unwrap());
    check(
        render(RenderOptions { since, ..Default::default() }),
        expect![[r#"
        three
    "#]],
    );
    check(
        render(RenderOptions { limit_bytes: Some(7), ..Default::default() }),
        expect![[r#"
        zero
        on"#]],
    );
    let streams = StreamSelection::parse("Stderr").unwrap();
    check(
        render(RenderOptions { streams, ..Default::default() }),
        expect![[r#"
        two
    "#]],
    );
}

/// A line of 100,000 bytes in records of 16 KiB, as containerd writes it, which a rotation has cut in two.
#[test]
fn a_long_line_is_one_line() {
    let long = "y".repeat(100_000);
    let chunks: Vec<&[u8]> = long.as_bytes().chunks(16 << 10).collect();
    let mut records: Vec<Vec<u8>> = vec![b"2026-01-01T00:00:00Z stdout F before\n".to_vec()];
    for (i, chunk) in chunks.iter().enumerate() {
        let tag = if i + 1 == chunks.len() { "F" } else { "P" };
        let mut record = format!("2026-01-01T00:00:01Z stdout {tag} ").into_bytes();
        record.extend_from_slice(chunk);
        record.push(b'\n');
        records.push(record);
    }
    records.push(b"2026-01-01T00:00:02Z stdout F x\n".to_vec());
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    for cut in [0, 3, records.len() - 1] {
        let dir = tempfile::tempdir().unwrap();
        std::fs::write(dir.path().join("0.log.1"), records[..cut].concat()).unwrap();
        std::fs::write(dir.path().join("0.log"), records[cut..].concat()).unwrap();
        let text = |lines| runtime.block_on(collect(dir.path(), &tail(lines), || false));
        assert_eq!(text(1), "x\n");
        assert!(text(2) == format!("{long}\nx\n"), "cut at {cut}");
        assert!(text(3) == format!("before\n{long}\nx\n"), "cut at {cut}");
    }
}

#[test]
fn lines_after_the_request_are_not_part_of_the_answer() {
    let dir = tempfile::tempdir().unwrap();
    let live = dir.path().join("0.log");
    std::fs::write(&live, LINES.repeat(2000)).unwrap();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let text = runtime.block_on(async {
        let act = async {
            tokio::task::yield_now().await;
            std::fs::OpenOptions::new()
                .append(true)
                .open(&live)
                .unwrap()
                .write_all(LINES.as_bytes())
                .unwrap();
        };
        let options = tail(5000);
        tokio::join!(collect(dir.path(), &options, || true), act).0
    });
    assert_eq!(text.lines().count(), 5000);
}

#[test]
fn following_continues_across_a_rotation() {
    rotated_and_ended_after(POLL_INTERVAL * 3);
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
