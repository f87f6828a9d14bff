//! The order of an object's members in YAML.

use std::cmp::Ordering;

/// Natural order of names: letters sort after other characters, digits compare as numbers.
///
/// This is the order of upstream's encoder, and not a total order: `1x` < `2` < `12` < `1x`.
pub(super) fn natural(a: &str, b: &str) -> Ordering {
    let (a, b): (Vec<char>, Vec<char>) = (a.chars().collect(), b.chars().collect());
    let Some(i) = a.iter().zip(&b).position(|(x, y)| x != y) else { return a.len().cmp(&b.len()) };
    match (a[i].is_alphabetic(), b[i].is_alphabetic()) {
        (true, true) => return a[i].cmp(&b[i]),
        (true, false) => return Ordering::Greater,
        (false, true) => return Ordering::Less,
        (false, false) => {}
    }
    // A zero within a number counts as a digit of it, a leading zero does not.
    let mut common = a[..i].iter().rev().take_while(|c| c.is_ascii_digit());
    let within = (a[i] == '0' || b[i] == '0') && common.any(|digit| *digit != '0');
    let number = |text: &[char]| {
        let digits = text[i..].iter().map_while(|c| c.to_digit(10));
        digits.fold((i64::from(within), i), |(number, end), digit| {
            (number.wrapping_mul(10).wrapping_add(i64::from(digit)), end + 1)
        })
    };
    number(&a).cmp(&number(&b)).then(a[i].cmp(&b[i]))
}

/// Sorts by merging, in O(n log n). `slice::sort_by` may panic if the order is not total, this does not.
pub(super) fn sort_tolerant<T: Copy>(items: &mut [T], compare: impl Fn(&T, &T) -> Ordering) {
    let mut width = 1;
    while width < items.len() {
        for pair in items.chunks_mut(2 * width).filter(|pair| pair.len() > width) {
            let (left, right) = pair.split_at(width);
            let (mut left, mut right) = (left.iter().peekable(), right.iter().peekable());
            let merged: Vec<T> = std::iter::from_fn(|| match (left.peek(), right.peek()) {
                (Some(l), Some(r)) if compare(l, r).is_gt() => right.next().copied(),
                (Some(_), _) => left.next().copied(),
                (None, _) => right.next().copied(),
            })
            .collect();
            pair.copy_from_slice(&merged);
        }
        width *= 2;
    }
}
