//! Tests of counting.

use super::Count;

#[test]
fn libtest_lines_are_counted() {
    let mut count = Count::default();
    for line in [
        "running 3 tests",
        "test result: ok. 3 passed; 0 failed; 1 ignored; 0 measured; 0 filtered out; finished in 0.00s",
        "test result: FAILED. 1 passed; 2 failed; 0 ignored; 0 measured; 0 filtered out; finished in 0.00s",
    ] {
        count.add_line(line);
    }
    assert_eq!(count, Count { passed: 4, failed: 2, ignored: 1 });
}
