//! Bounds the time to parse a YAML body, before it is parsed. For each token the parser visits every open flow collection,
//! so that a body of brackets would take minutes before its depth is checked. JSON bodies do not come here.

/// Most open collections times bytes: about a second of parsing.
const WORK_MAX: usize = 1_000_000_000;

/// The parser itself refuses more levels than this in one line.
const DEPTH_MAX: usize = 100;

/// Whether a text may take too long to parse. Brackets in strings may count as well.
pub(super) fn is_exceeded(text: &[u8]) -> bool {
    let open: usize = text.split(|byte| matches!(byte, b'\n' | b'\r')).map(left_open).sum();
    open.saturating_mul(text.len()) > WORK_MAX
}

/// How many flow collections a line may leave open. If quotes or comments may hide closing brackets, none counts as closed.
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
    fn deep_nesting_is_distinguished_from_long_texts() {
        let nested = [
            "[".repeat(100_000),
            "{a: ".repeat(40_000),
            format!("{}{}", "[".repeat(50_000), "]".repeat(50_000)),
            "[\"]\",".repeat(50_000),
            "[\"]\",\n".repeat(50_000),
            "[ # ]\n".repeat(50_000),
            "[ !<]> x,\n".repeat(50_000),
        ];
        for text in nested {
            assert!(is_exceeded(text.as_bytes()), "{}", &text[..20]);
        }
        let long = [
            "a: b\n".repeat(500_000),
            "- [a, {b: c}, []]\n".repeat(100_000),
            "command: [\"/bin/sh\", \"-c\"]\n".repeat(3_000),
            "x: |\n  {\n    \"a\": [1, 2]\n  }\n".repeat(2_000),
        ];
        for text in long {
            assert!(!is_exceeded(text.as_bytes()), "{}", &text[..20]);
        }
    }
}
