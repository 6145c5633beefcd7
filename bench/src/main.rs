//! Benchmarks: load generator and peers.
fn main() {}
