//! The command andon.
fn main() {}
