//! The client side of the SDK: any MCP server, of any revision, over HTTP, a child process or in process.
//!
//! ```no_run
//! # async fn run() -> Result<(), andon_client::Error> {
//! let client = andon_client::Client::connect("https://mcp.example.com/mcp").await?;
//! for tool in client.tools().await? {
//!     println!("{}", tool.name);
//! }
//! let sum: i64 = client.call("add", serde_json::json!({"a": 1, "b": 2})).await?;
//! # Ok(())
//! # }
//! ```
//!
//! A [`Client`] finds out which revision its server speaks, makes its session again when it is gone, takes up broken
//! streams, and has a bound on everything that a server could make grow. The decisions are in
//! [`andon_core::client`]; this crate is what surrounds them.

mod answer;
mod authorize;
mod builder;
mod cache;
mod carriage;
mod client;
mod driver;
mod error;
mod event;
mod link;
mod listen;
mod outbox;
mod secrets;
mod target;
mod task;
mod throttle;

pub use andon_core::client::{Loss, OpenFailure, Report, Round};
pub use answer::{Consent, Filled, Form, Question, Visit, fill_defaults};
pub use authorize::{AuthorizeError, Authorizer, Bearer};
pub use builder::{Builder, Restart};
pub use client::{Client, Completion, Options, Reference};
pub use error::Error;
pub use event::{Event, Events};
pub use link::child::{Children, children, children_ended};
pub use link::http::Figures;
pub use listen::{Listen, Listening};
pub use target::{Command, Target};
pub use task::{Called, Task};
