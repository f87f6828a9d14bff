//! A line diff in hunks with three lines of context. The longest common runs of lines are matched first, as in
//! upstream's diff.

use std::collections::BTreeMap;

/// Lines of context around a change.
const CONTEXT: usize = 3;
/// In texts of at least this many lines, very frequent lines do not start a match.
const POPULAR_FROM: usize = 200;

/// A range of lines in both texts.
#[derive(Clone, Copy)]
struct Step {
    equal: bool,
    a: (usize, usize),
    b: (usize, usize),
}

/// The hunks from `a` to `b`, each line with its mark and a line break.
pub(super) fn hunks(a: &[String], b: &[String]) -> String {
    let mut out = String::new();
    for group in groups(steps(a, b)) {
        let (Some(first), Some(last)) = (group.first(), group.last()) else { continue };
        let (left, right) = (range(first.a.0, last.a.1), range(first.b.0, last.b.1));
        out.push_str(&format!("@@ -{left} +{right} @@\n"));
        for step in group {
            let mut put = |mark: char, lines: &[String]| {
                lines.iter().for_each(|line| out.push_str(&format!("{mark}{line}\n")));
            };
            if step.equal {
                put(' ', &a[step.a.0..step.a.1]);
            } else {
                put('-', &a[step.a.0..step.a.1]);
                put('+', &b[step.b.0..step.b.1]);
            }
        }
    }
    out
}

fn range(from: usize, to: usize) -> String {
    match to - from {
        1 => (from + 1).to_string(),
        0 => format!("{from},0"),
        length => format!("{},{length}", from + 1),
    }
}

/// Splits both texts into alternating equal and different ranges.
fn steps(a: &[String], b: &[String]) -> Vec<Step> {
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
    let mut out: Vec<Step> = Vec::new();
    for (x, y, n) in matches {
        if i < x || j < y {
            out.push(Step { equal: false, a: (i, x), b: (j, y) });
        }
        if n > 0 {
            match out.last_mut() {
                Some(last) if last.equal => (last.a.1, last.b.1) = (x + n, y + n),
                _ => out.push(Step { equal: true, a: (x, x + n), b: (y, y + n) }),
            }
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

/// Groups changes whose contexts touch into hunks.
fn groups(mut steps: Vec<Step>) -> Vec<Vec<Step>> {
    if let Some(first) = steps.first_mut().filter(|s| s.equal) {
        first.a.0 = first.a.0.max(first.a.1.saturating_sub(CONTEXT));
        first.b.0 = first.b.0.max(first.b.1.saturating_sub(CONTEXT));
    }
    if let Some(last) = steps.last_mut().filter(|s| s.equal) {
        last.a.1 = last.a.1.min(last.a.0 + CONTEXT);
        last.b.1 = last.b.1.min(last.b.0 + CONTEXT);
    }
    let mut out = Vec::new();
    let mut group: Vec<Step> = Vec::new();
    for step in steps {
        if step.equal && step.a.1 - step.a.0 > 2 * CONTEXT {
            let (a, b) = ((step.a.0, step.a.0 + CONTEXT), (step.b.0, step.b.0 + CONTEXT));
            group.push(Step { equal: true, a, b });
            out.push(std::mem::take(&mut group));
            let (a, b) = ((step.a.1 - CONTEXT, step.a.1), (step.b.1 - CONTEXT, step.b.1));
            group.push(Step { equal: true, a, b });
        } else {
            group.push(step);
        }
    }
    out.push(group);
    out.retain(|g| g.iter().any(|s| !s.equal));
    out
}

#[cfg(test)]
mod tests;
