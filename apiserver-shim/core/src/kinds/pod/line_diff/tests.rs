//! Tests of hunks.

use expect_test::expect;

use super::*;

fn lines(text: &str) -> Vec<String> {
    text.split(' ').map(str::to_owned).collect()
}

#[test]
fn changes_are_shown_with_context() {
    let old = lines("a b c d e f g h i j k l m n");
    let new = lines("a X c d e f g h i j k l n o");
    expect![[r#"
        @@ -1,5 +1,5 @@
         a
        -b
        +X
         c
         d
         e
        @@ -10,5 +10,5 @@
         j
         k
         l
        -m
         n
        +o
    "#]]
    .assert_eq(&hunks(&old, &new));
    assert_eq!(hunks(&old, &old), "");
    assert_eq!(hunks(&lines("a"), &lines("b")), "@@ -1 +1 @@\n-a\n+b\n");
}
