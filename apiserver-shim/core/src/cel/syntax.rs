//! Syntax errors in upstream's words. The parser here is made from upstream's grammar, but its runtime looks further ahead when it
//! says what it expected.

/// The tokens that continue an operand.
const OPERATORS: [&str; 17] = [
    "'=='", "'!='", "'in'", "'<'", "'<='", "'>='", "'>'", "'&&'", "'||'", "'['", "'.'", "'-'", "'?'", "'+'",
    "'*'", "'/'", "'%'",
];

/// The messages of a parse, with their positions.
pub(super) fn messages<'e, P: Copy>(errors: impl Iterator<Item = (P, &'e str)> + Clone) -> Vec<(P, String)> {
    // Parts of the tree that are missing because of a syntax error are errors of their own here.
    let is_follow_up = |message: &str| message.starts_with("Incomplete ");
    let has_others = errors.clone().any(|(_, message)| !is_follow_up(message));
    errors
        .filter(|(_, message)| !(has_others && is_follow_up(message)))
        .map(|(at, message)| (at, message_of(message)))
        .collect()
}

fn message_of(message: &str) -> String {
    let Some((head, expected)) = message.rsplit_once(" expecting {") else { return message.to_owned() };
    let expected: Vec<&str> = expected.trim_end_matches('}').split(", ").collect();
    // Upstream has left the operand by then.
    if !["'=='", "'%'"].iter().all(|operator| expected.contains(operator)) {
        return message.to_owned();
    }
    let mut rest: Vec<&str> = expected.into_iter().filter(|token| !OPERATORS.contains(token)).collect();
    let ends = ["<EOF>", "')'", "']'", "'}'"];
    if let Some(closing) = ends.into_iter().find(|token| rest.contains(token)) {
        rest = vec![closing];
    }
    match &rest[..] {
        [] => message.to_owned(),
        [only] => format!("{head} expecting {only}"),
        several => format!("{head} expecting {{{}}}", several.join(", ")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn operators_are_not_expected_behind_an_operand() {
        let of = |message: &str| messages([((), message)].into_iter())[0].1.clone();
        let all = OPERATORS.join(", ");
        assert_eq!(
            of(&format!("mismatched input 'b' expecting {{<EOF>, {all}}}")),
            "mismatched input 'b' expecting <EOF>"
        );
        assert_eq!(
            of(&format!("mismatched input '}}' expecting {{{all}, ':'}}")),
            "mismatched input '}' expecting ':'"
        );
        assert_eq!(of(&format!("x expecting {{{all}, ')', ','}}")), "x expecting ')'");
        let unchanged = "mismatched input '<EOF>' expecting {']', ','}";
        assert_eq!(of(unchanged), unchanged);
    }

    #[test]
    fn what_follows_from_a_syntax_error_is_no_error() {
        let both = messages([(1, "Incomplete `ExprContext`"), (2, "Syntax error: x")].into_iter());
        assert_eq!(both, [(2, "Syntax error: x".to_owned())]);
        assert_eq!(messages([(1, "Incomplete x")].into_iter()).len(), 1);
    }
}
