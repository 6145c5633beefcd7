//! OAuth for MCP clients: which authorization server guards a server, who are we to it, and a token that fits.
//!
//! An [`OAuth`] belongs to one MCP server and one user. A transport asks it for the headers of each request
//! ([`OAuth::headers`]) and tells it when the server refused them ([`OAuth::challenged`]); everything between is its own
//! affair: protected resource metadata, authorization server metadata, client registration, PKCE, scopes, refreshing,
//! DPoP. `issuer` and `resource` are strings and stay byte for byte as they came, because they are compared that way.
//!
//! What comes from metadata may lie. Addresses are checked when they are connected to ([`net`]), documents are bounded,
//! no request is redirected, and no credential goes to another issuer than the one that it was made for.
//!
//! Tokens, client secrets and keys are wiped from memory when what holds them is dropped. Copies of them are beyond our
//! reach: in the headers and bodies of requests, and in the buffers of the TLS library.
//!
//! With the feature `keyring`, [`KeyringStore`] finds the keyring of the system; without it, there is none.

mod agent;
mod challenge;
mod dpop;
mod error;
mod jwt;
mod metadata;
mod oauth;
mod registration;
mod store;
mod token;

pub mod net;

pub use agent::{AuthorizationRequest, Headless, Loopback, UserAgent, open_in_browser};
pub use error::AuthError;
pub use jwt::{Algorithm, SigningKey};
pub use oauth::{Flow, OAuth, OAuthBuilder, ScopeRule};
pub use registration::{ClientCredentials, ClientMetadata};
pub use store::{DpopKey, FileStore, Held, KeyringStore, MemoryStore, Stored, TokenStore};
pub use token::Token;
