//! What the compiler says when a macro is used wrongly is part of the macros.

#[test]
fn mistakes_are_named_where_they_are() {
    let cases = trybuild::TestCases::new();
    // Nothing that passes is among them: then it is all one `cargo check`, where no code is made.
    cases.compile_fail("tests/fail/*.rs");
}
