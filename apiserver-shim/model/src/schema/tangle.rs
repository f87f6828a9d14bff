//! How long reading a YAML text may take, told before it is read. The parser looks at every flow collection that is open
//! again for each token: a body of nothing but brackets would hold a processor for minutes before anybody counts how deep
//! they are. JSON, which is what nearly all clients send, does not come here.

/// Most open collections times bytes: about a second of the parser's time.
const WORK_MAX: usize = 1_000_000_000;

/// Deeper than this in one line the parser refuses to follow anyway.
const DEPTH_MAX: usize = 100;

/// Whether a text may take too long. Brackets inside of strings may count as well.
pub(super) fn is_tangled(text: &[u8]) -> bool {
    let open: usize = text.split(|byte| matches!(byte, b'\n' | b'\r')).map(left_open).sum();
    open.saturating_mul(text.len()) > WORK_MAX
}

/// How many collections a line may leave open. Where something may hide what closes them, none counts as closed.
fn left_open(line: &[u8]) -> usize {
    let hides = line.iter().any(|byte| matches!(byte, b'"' | b'\'' | b'#' | b'!' | b'&' | b'*' | b'%'));
    let (mut all, mut open, mut deepest) = (0usize, 0usize, 0usize);
    for byte in line {
        match byte {
            b'[' | b'{' => {
                all += 1;
                open += 1;
                deepest = deepest.max(open);
            }
            b']' | b'}' if !hides => open = open.saturating_sub(1),
            _ => {}
        }
    }
    if deepest > DEPTH_MAX { all } else { open }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_nests_without_end_is_told_from_what_is_only_long() {
        let tangled = [
            "[".repeat(100_000),
            "{a: ".repeat(40_000),
            format!("{}{}", "[".repeat(50_000), "]".repeat(50_000)),
            "[\"]\",".repeat(50_000),
            "[\"]\",\n".repeat(50_000),
            "[ # ]\n".repeat(50_000),
            "[ !<]> x,\n".repeat(50_000),
        ];
        for text in tangled {
            assert!(is_tangled(text.as_bytes()), "{}", &text[..20]);
        }
        let long = [
            "a: b\n".repeat(500_000),
            "- [a, {b: c}, []]\n".repeat(100_000),
            "command: [\"/bin/sh\", \"-c\"]\n".repeat(3_000),
            "x: |\n  {\n    \"a\": [1, 2]\n  }\n".repeat(2_000),
        ];
        for text in long {
            assert!(!is_tangled(text.as_bytes()), "{}", &text[..20]);
        }
    }
}
