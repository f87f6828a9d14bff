//! A line diff in hunks with three lines of context, as upstream's message about a refused Pod update prints it.
//!
//! Upstream matches the longest common runs of lines first (Ratcliff and Obershelp, as Python's `difflib`). `similar` has
//! other algorithms, with other hunks, so that it groups and numbers the operations that are found here; see decision 0017.

use std::collections::BTreeMap;

use similar::{DiffOp, group_diff_ops, udiff::UnifiedHunkHeader};

/// Lines of context around a change.
const CONTEXT: usize = 3;
/// In texts of at least this many lines, very frequent lines do not start a match.
const POPULAR_FROM: usize = 200;

/// The hunks from `a` to `b`, each line with its mark and a line break.
pub(super) fn hunks(a: &[String], b: &[String]) -> String {
    let mut out = String::new();
    for group in group_diff_ops(operations(a, b), CONTEXT) {
        out.push_str(&format!("{}\n", UnifiedHunkHeader::new(&group)));
        for operation in group {
            let mut put = |mark: char, lines: &[String]| {
                lines.iter().for_each(|line| out.push_str(&format!("{mark}{line}\n")));
            };
            if let DiffOp::Equal { .. } = operation {
                put(' ', &a[operation.old_range()]);
            } else {
                put('-', &a[operation.old_range()]);
                put('+', &b[operation.new_range()]);
            }
        }
    }
    out
}

/// Splits both texts into alternating equal and different ranges.
fn operations(a: &[String], b: &[String]) -> Vec<DiffOp> {
    let mut places: BTreeMap<&str, Vec<usize>> = BTreeMap::new();
    for (at, line) in b.iter().enumerate() {
        places.entry(line).or_default().push(at);
    }
    if b.len() >= POPULAR_FROM {
        places.retain(|_, at| at.len() <= b.len() / 100 + 1);
    }
    let mut matches = Vec::new();
    let mut open = vec![(0, a.len(), 0, b.len())];
    while let Some((a0, a1, b0, b1)) = open.pop() {
        if let Some((i, j, n)) = longest(a, b, &places, (a0, a1, b0, b1)) {
            matches.push((i, j, n));
            open.push((a0, i, b0, j));
            open.push((i + n, a1, j + n, b1));
        }
    }
    matches.sort_unstable();
    matches.push((a.len(), b.len(), 0));
    let (mut i, mut j) = (0, 0);
    let mut out: Vec<DiffOp> = Vec::new();
    for (x, y, n) in matches {
        if i < x || j < y {
            out.push(DiffOp::Replace { old_index: i, old_len: x - i, new_index: j, new_len: y - j });
        }
        match out.last_mut() {
            _ if n == 0 => {}
            Some(DiffOp::Equal { len, .. }) => *len += n,
            _ => out.push(DiffOp::Equal { old_index: x, new_index: y, len: n }),
        }
        (i, j) = (x + n, y + n);
    }
    out
}

/// The first of the longest common runs of lines within bounds: its position in each text, and its length.
fn longest(
    a: &[String],
    b: &[String],
    places: &BTreeMap<&str, Vec<usize>>,
    (a0, a1, b0, b1): (usize, usize, usize, usize),
) -> Option<(usize, usize, usize)> {
    let (mut x, mut y, mut n) = (a0, b0, 0);
    let mut ending: BTreeMap<usize, usize> = BTreeMap::new();
    for (i, line) in a.iter().enumerate().take(a1).skip(a0) {
        let mut now = BTreeMap::new();
        for j in places.get(line.as_str()).into_iter().flatten().copied().filter(|j| (b0..b1).contains(j)) {
            let length = 1 + j.checked_sub(1).and_then(|before| ending.get(&before)).copied().unwrap_or(0);
            now.insert(j, length);
            if length > n {
                (x, y, n) = (i + 1 - length, j + 1 - length, length);
            }
        }
        ending = now;
    }
    // A run is extended by frequent lines.
    while x > a0 && y > b0 && a[x - 1] == b[y - 1] {
        (x, y, n) = (x - 1, y - 1, n + 1);
    }
    while x + n < a1 && y + n < b1 && a[x + n] == b[y + n] {
        n += 1;
    }
    (n > 0).then_some((x, y, n))
}

#[cfg(test)]
mod tests;
