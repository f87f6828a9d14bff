//! Tests of the function finder.

use super::functions;

#[test]
fn functions_are_measured_to_their_closing_brace() {
    let text = "\
impl X {
    fn declared(&self);

    pub async fn short(&self) {
        body();
    }

    const fn long<T>(
        a: T,
    ) {
        one();
        two();
    }
}
";
    assert_eq!(functions(text), [("short".to_owned(), 3), ("long".to_owned(), 6)]);
}
