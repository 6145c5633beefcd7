//! Transports that need nothing but bytes: lines over any pair of streams, and stdio.

mod lines;
mod stdio;

pub use lines::{LINE_BYTES_MAX, serve_lines};
pub use stdio::Stdio;
