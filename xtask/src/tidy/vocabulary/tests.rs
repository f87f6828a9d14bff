//! Tests of how words are found.

use std::collections::BTreeMap;

use super::{Source, collect, first_paragraph, parts};

fn found(path: &str, text: &str) -> Vec<(&'static str, usize)> {
    let mut uses = BTreeMap::new();
    collect(&Source { path: path.to_owned(), text: text.to_owned() }, &mut uses);
    uses.into_iter().map(|(word, at): (_, Vec<String>)| (word, at.len())).collect()
}

#[test]
fn identifiers_are_split_into_parts() {
    assert_eq!(parts("OfferWishes"), ["offer", "wishes"]);
    assert_eq!(parts("offer_wishes"), ["offer", "wishes"]);
    assert_eq!(parts("HTTPDoor"), ["http", "door"]);
    assert_eq!(parts("agentDoor2"), ["agent", "door2"]);
}

#[test]
fn parts_match_in_any_case_and_names_only_whole() {
    assert_eq!(found("a.rs", "struct AgentDoor; // The DOOR"), [("door", 2)]);
    assert_eq!(found("a.rs", "indoors, doorway"), []);
    assert_eq!(found("a.rs", "struct Kept; // is kept, KeptAlive"), [("Kept", 1)]);
    assert_eq!(found("a.rs", "    /// Kept sorted."), []);
    assert_eq!(found("README.md", "#\n\n\nKept sorted."), []);
    assert_eq!(found("src/authentication.rs", "struct Claims;"), []);
    assert_eq!(found("src/registry.rs", "struct Claims;"), [("Claims", 1)]);
}

#[test]
fn the_first_paragraph_of_the_readme_is_exempt() {
    let text = "# Title\n\nOne hull\nand another.\n\nA third hull.\n";
    assert_eq!(first_paragraph(text), 4);
    assert_eq!(found("README.md", text), [("hull", 1)]);
    assert_eq!(found("CHANGELOG.md", text), [("hull", 2)]);
}
