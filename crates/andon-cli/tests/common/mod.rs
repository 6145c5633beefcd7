//! What several files of tests need.

#![allow(dead_code, unused_imports, reason = "each test file uses some of it")]

mod login;
mod process;
mod server;
mod terminal;

pub(crate) use login::{Browser, Guarded, Person};
pub(crate) use process::Process;
pub(crate) use server::Demo;
pub(crate) use terminal::Seated;

pub(crate) const ANDON: &str = env!("CARGO_BIN_EXE_andon");
