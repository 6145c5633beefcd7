//! What the project's own programs share: where things are, programs that are run, and packages of other languages that
//! are fetched into `target`.

pub mod tools;

/// What a step says when it fails: what to do, in words.
pub type Outcome = Result<(), String>;
