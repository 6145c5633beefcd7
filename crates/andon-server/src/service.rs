//! What the host asks of the application.

use std::sync::Arc;

use andon_types::capability::ServerCapabilities;
use andon_types::error::ErrorObject;
use andon_types::meta::Implementation;
use andon_types::method::Method;
use andon_types::params::Params;
use futures_util::future::BoxFuture;

pub use andon_core::io::{Reply, Text};

use crate::call::Call;
use crate::change::Subscriber;
use crate::principal::Principal;
use crate::seal::Seal;
use crate::tasks::Tasks;

/// An application: it knows the tools, prompts and resources, and nothing of sessions and transports.
///
/// The host calls it for methods that exist in the peer's revision and whose capability it declares. It may be
/// called from many tasks at once.
pub trait Service: Send + Sync + 'static {
    /// Who the server is, and what a model should know to use it.
    fn identity(&self) -> (Implementation, Option<String>);

    /// What the server can do, in the newest shape. Asked again after each announced change.
    fn capabilities(&self) -> ServerCapabilities;

    /// The scopes that a request needs, whoever sends it (authorization, "Scope Challenge Handling"). It is asked before
    /// [`Service::call`], and a sender who lacks one is refused.
    fn needed_scopes(&self, method: Method, params: Option<&Params>) -> Vec<String> {
        let _ = (method, params);
        Vec::new()
    }

    /// The scopes that are needed to hear of changes of the resource with this canonical URI.
    fn scopes_of_resource(&self, uri: &str) -> Vec<String> {
        let _ = uri;
        Vec::new()
    }

    /// Whether a request may run again without harm if nobody knows whether it ran. For any other, it is written down
    /// that it runs before it does, where sessions outlive the process.
    fn is_repeatable(&self, method: Method, params: Option<&Params>) -> bool {
        let _ = params;
        method.is_repeatable()
    }

    /// Whether its handlers of `method` nearly always wait for somebody else: then it is not tried whether one is done at once.
    fn waits(&self, method: Method) -> bool {
        let _ = method;
        false
    }

    /// What its host has for it: the tasks that its calls can become, kept where its sessions are, and the keys that protect
    /// what clients carry. Told once, by [`Host::open`], before any call.
    ///
    /// [`Host::open`]: crate::host::Host::open
    fn opened(&self, tasks: Arc<Tasks>, seal: &Seal) {
        let _ = (tasks, seal);
    }

    /// The session that its calls name by [`Call::session_key`] is over. What could only be reached through it can go.
    /// Must not block.
    fn session_ended(&self, session: u128) {
        let _ = session;
    }

    /// The client of the session that its calls name by [`Call::session_key`] says that its roots changed (Roots, "Root
    /// List Changes"). A call of the session may ask for them. Must not block.
    fn roots_changed(&self, session: u128) {
        let _ = session;
    }

    /// `who` is subscribed to the resource with this canonical URI from now on, by a request that was served, or in a
    /// session that comes back from where it was kept. Must not block.
    fn watched(&self, uri: &str, who: &Subscriber) {
        let _ = (uri, who);
    }

    /// Somebody is not subscribed to the resource with this canonical URI any more. Others may be, or may be again before
    /// this is heard: [`Host::is_watched`](crate::host::Host::is_watched) tells. Must not block.
    fn unwatched(&self, uri: &str) {
        let _ = uri;
    }

    /// Whether the `Mcp-Param-*` headers (suffix, value) of a call of `tool` say what its arguments say
    /// (2026-07-28, Streamable HTTP, "Custom Headers from Tool Parameters"). `principal` sent them.
    ///
    /// # Errors
    /// What disagrees, in words.
    fn check_param_headers(
        &self,
        principal: &Principal,
        tool: &str,
        params: Option<&Params>,
        headers: &[(&str, &str)],
    ) -> Result<(), String>;

    /// Serves `tools/*`, `prompts/*`, `resources/*`, `completion/complete` and `subscriptions/listen`.
    ///
    /// The reply's body has the shape of `call.rules()`. A subscription's reply names the canonical URI as its
    /// subject; a listen request's reply is the part of its filter that the server honours. A panic is answered
    /// as an internal error and hurts nobody else.
    fn call(
        self: Arc<Self>,
        call: Call,
        method: Method,
        params: Option<Params>,
    ) -> BoxFuture<'static, Result<Reply, ErrorObject>>;
}
