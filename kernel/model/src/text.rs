//! Texts of bounded length: what a refusal quotes of a call is the caller's, and one call can be refused as often as it has tasks.

use std::fmt::{self, Write};

/// The longest text of a refusal. One that is longer quotes names or resources of a size that nobody reads.
pub const TEXT_BYTES_MAX: usize = 4096;

/// What follows a text that was cut.
const CUT: &str = "... (cut)";

/// A text that takes no more than [`TEXT_BYTES_MAX`], and ends the formatting of the rest.
#[derive(Default)]
struct BoundedText(String);

impl Write for BoundedText {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        let room = TEXT_BYTES_MAX - self.0.len();
        self.0.push_str(&text[..text.floor_char_boundary(room)]);
        if text.len() <= room { Ok(()) } else { Err(fmt::Error) }
    }
}

/// Formats no more than [`TEXT_BYTES_MAX`]; a longer text is cut, and the rest is not formatted.
pub fn bounded(arguments: fmt::Arguments<'_>) -> String {
    let mut text = BoundedText::default();
    match text.write_fmt(arguments) {
        Ok(()) => text.0,
        Err(_) => text.0 + CUT,
    }
}

/// Cuts a text that is longer than [`TEXT_BYTES_MAX`].
pub fn cut(text: String) -> String {
    if text.len() <= TEXT_BYTES_MAX { text } else { bounded(format_args!("{text}")) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn long_texts_are_cut_at_a_character() {
        assert_eq!(bounded(format_args!("{}-{}", 1, "two")), "1-two");
        let longest = "x".repeat(TEXT_BYTES_MAX);
        assert_eq!(cut(longest.clone()), longest);
        assert_eq!(cut(longest.clone() + "y"), longest + CUT);
        let text = cut("é".repeat(TEXT_BYTES_MAX));
        assert_eq!(text.len(), TEXT_BYTES_MAX + CUT.len());
        let text = bounded(format_args!("x{}", "é".repeat(TEXT_BYTES_MAX)));
        assert_eq!(text.len(), TEXT_BYTES_MAX - 1 + CUT.len());
    }

    #[test]
    fn the_rest_is_not_formatted() {
        struct Endless;
        impl fmt::Display for Endless {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                loop {
                    f.write_str("more and more")?;
                }
            }
        }
        assert!(bounded(format_args!("{Endless}")).ends_with(CUT));
    }
}
