//! A Model Context Protocol SDK: servers and clients in a few lines.
//!
//! ```
//! use andon::prelude::*;
//!
//! /// Add two numbers.
//! #[tool(read_only, idempotent)]
//! async fn add(
//!     /// left operand
//!     a: i64,
//!     /// right operand
//!     b: i64,
//! ) -> i64 {
//!     a + b
//! }
//!
//! # async fn run() -> andon::Result {
//! # let server = ||
//! Server::new("adder", env!("CARGO_PKG_VERSION")).with(add)
//! # ;
//! # assert_eq!(server().client().await.call::<i64>("add", json!({"a": 1, "b": 2})).await.unwrap(), 3);
//! # Ok(())
//! # }
//! # tokio::runtime::Runtime::new().unwrap().block_on(run()).unwrap();
//! ```
//!
//! This crate has no code of its own: it gathers the crates of the workspace under one name. A server speaks all
//! revisions of the protocol from 2024-11-05 to 2026-07-28, and a handler does not notice which. Read
//! [`server::Server`](andon_server::server::Server) and [`Context`](andon_server::context::Context) first.

pub use andon_types as types;

#[cfg(feature = "client")]
pub use andon_auth as auth;
#[cfg(feature = "client")]
pub use andon_client as client;
#[cfg(feature = "http")]
pub use andon_http as http;
#[cfg(feature = "server")]
pub use andon_server as server;
#[cfg(feature = "server")]
pub use andon_server::error::{Error, ErrorKind, Result};
#[cfg(feature = "server")]
pub use schemars;
#[cfg(feature = "server")]
pub use serde;
#[cfg(feature = "server")]
pub use serde_json;

pub mod prelude;

#[cfg(feature = "macros")]
#[doc(hidden)]
pub mod __private;
