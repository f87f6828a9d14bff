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
    let _ = writeln!(io::stderr(), "{text}");
}
