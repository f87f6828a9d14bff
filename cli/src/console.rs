//! Lines for the person at the terminal. A closed standard output (`catamaran up | head`) or a terminal that has gone is no error:
//! the lines are lost, the cluster runs on.

use std::io::{self, Write};

/// Prints a line to standard output.
pub fn line(text: &str) {
    // Who closed the output does not want to read it.
    let _ = writeln!(io::stdout(), "{text}");
}

/// Prints a line to standard error.
pub fn error_line(text: &str) {
    let _ = writeln!(io::stderr(), "{}", printable(text));
}

/// The text with its control characters escaped: an error may quote what a file or a peer contains, and a terminal
/// would obey it. Line breaks and tabs are our own.
fn printable(text: &str) -> String {
    text.chars().fold(String::with_capacity(text.len()), |mut printed, c| {
        if c.is_control() && !matches!(c, '\n' | '\t') {
            printed.extend(c.escape_default());
        } else {
            printed.push(c);
        }
        printed
    })
}

#[cfg(test)]
mod tests {
    #[test]
    fn an_error_does_not_command_the_terminal() {
        assert_eq!(super::printable("a\n\tb\u{1b}[2J\u{9b}m\r\0ü"), "a\n\tb\\u{1b}[2J\\u{9b}m\\r\\u{0}ü");
    }
}
