//! Small programs to copy.
fn main() {}
