//! The project's own tasks: cargo xtask test, tidy, revisions.
fn main() {}
