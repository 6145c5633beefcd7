//! The client's side: which revision does the server speak, and what becomes of each request.
//!
//! [`Opening`] finds out the era and revision of a server; [`Dialogue`] is the conversation that follows, in either
//! era. Both are pure: the driver of the client crate owns time, sockets and tasks.

mod asks;
mod dialogue;
mod io;
mod opening;

pub use dialogue::Dialogue;
pub use io::{CallError, CallId, Input, Loss, Newcall, Output, QuestionId, Report, Round, Timing};
pub use opening::{Attempt, Next, OpenFailure, Opened, Opening, Outcome, Road};
