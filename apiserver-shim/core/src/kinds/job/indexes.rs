//! Lists of indexes of completed Pods, such as `1,3-5,7`.

/// The intervals of a list, in order; an error in the words of upstream.
pub(super) fn intervals(text: &str, completions: i64) -> Result<Vec<(i64, i64)>, String> {
    let mut out: Vec<(i64, i64)> = Vec::new();
    for part in text.split(',').filter(|_| !text.is_empty()) {
        let (first, last) = interval(part, completions)?;
        if let Some((_, previous)) = out.last().filter(|(_, previous)| *previous >= first) {
            return Err(out_of_order(*previous, first));
        }
        out.push((first, last));
    }
    Ok(out)
}

/// Number of indexes in a list.
pub(super) fn count(text: &str, completions: i64) -> Result<i64, String> {
    Ok(intervals(text, completions)?.iter().map(|(first, last)| last - first + 1).sum())
}

/// The first index that two lists share.
pub(super) fn overlap(left: &[(i64, i64)], right: &[(i64, i64)]) -> Option<i64> {
    let shared =
        |(a, b): &(i64, i64)| right.iter().filter(|(c, d)| a <= d && c <= b).map(|(c, _)| *a.max(c)).min();
    left.iter().filter_map(shared).min()
}

fn out_of_order(previous: i64, current: i64) -> String {
    format!("non-increasing order, previous: {previous}, current: {current}")
}

fn interval(part: &str, completions: i64) -> Result<(i64, i64), String> {
    let ends: Vec<&str> = part.split('-').collect();
    if ends.len() > 2 {
        return Err(format!(
            "the fragment \"{part}\" violates the requirement that an index interval can have at most two parts separated by '-'"
        ));
    }
    let index = |text: &str| match text.parse::<i64>() {
        Err(_) => Err(format!("cannot convert string to integer for index: \"{text}\"")),
        Ok(index) if index >= completions => Err(format!("too large index: \"{text}\"")),
        Ok(index) => Ok(index),
    };
    let first = index(ends[0])?;
    match ends.get(1) {
        None => Ok((first, first)),
        Some(end) => match index(end)? {
            last if first >= last => Err(out_of_order(first, last)),
            last => Ok((first, last)),
        },
    }
}
