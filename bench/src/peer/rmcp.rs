//! The server of the workloads on the Rust SDK `rmcp`, set up the way that serves it best: its router is built once for all
//! requests, and its HTTP service stands on hyper without a web framework in between.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use futures_util::future::join_all;
use rmcp::handler::server::router::tool::ToolRouter;
use rmcp::handler::server::wrapper::Parameters;
use rmcp::model::{
    ProgressNotificationParam, RequestMetaObject, ResourceUpdatedNotificationParam, ServerCapabilities, ServerConfig,
    SubscribeRequestParams, SubscriptionFilter,
};
use rmcp::service::{Peer, RequestContext, SubscriptionContext, SubscriptionSink};
use rmcp::transport::streamable_http_server::session::local::LocalSessionManager;
use rmcp::transport::streamable_http_server::{StreamableHttpServerConfig, StreamableHttpService};
use rmcp::{ErrorData, RoleServer, ServerHandler, ServiceExt as _, schemars, tool, tool_handler, tool_router};
use serde::Deserialize;

use crate::Error;

/// A server with the tools of the workloads.
#[derive(Clone)]
pub struct Tools {
    router: Arc<ToolRouter<Self>>,
    watchers: Arc<Watchers>,
}

/// Who wants to know of updates.
#[derive(Default)]
struct Watchers {
    sessions: Mutex<Vec<Peer<RoleServer>>>,
    listens: Mutex<Vec<SubscriptionSink>>,
}

#[derive(Deserialize, schemars::JsonSchema)]
struct EchoArguments {
    /// What to say.
    message: String,
}

#[derive(Deserialize, schemars::JsonSchema)]
struct StepsArguments {
    /// How many.
    steps: u32,
}

#[derive(Deserialize, schemars::JsonSchema)]
struct TouchArguments {
    /// Which.
    uri: String,
}

#[tool_router]
impl Tools {
    fn new() -> Self {
        Self { router: Arc::new(Self::tool_router()), watchers: Arc::default() }
    }

    #[tool(description = "Say the message again")]
    fn echo(&self, Parameters(EchoArguments { message }): Parameters<EchoArguments>) -> String {
        message
    }

    #[tool(description = "Take some steps and report progress after each")]
    async fn steps(
        &self,
        Parameters(StepsArguments { steps }): Parameters<StepsArguments>,
        meta: RequestMetaObject,
        peer: Peer<RoleServer>,
    ) -> Result<String, ErrorData> {
        let token = meta.get_progress_token().ok_or_else(|| ErrorData::invalid_params("no progress token", None))?;
        for step in 1..=steps {
            let progress = ProgressNotificationParam::new(token.clone(), step.into());
            let progress = progress.with_total(steps.into()).with_message(format!("step {step}"));
            let told = peer.notify_progress(progress).await;
            told.map_err(|error| ErrorData::internal_error(error.to_string(), None))?;
        }
        Ok(format!("took {steps} steps"))
    }

    #[tool(description = "Say that a resource changed, to those who subscribed to it")]
    async fn touch(&self, Parameters(TouchArguments { uri }): Parameters<TouchArguments>) -> String {
        // Those who are gone are no reason not to tell the others.
        let sessions = lock(&self.watchers.sessions).clone();
        let tell = |peer: Peer<RoleServer>| {
            let updated = ResourceUpdatedNotificationParam::new(uri.clone());
            async move { peer.notify_resource_updated(updated).await.is_ok() }
        };
        join_all(sessions.into_iter().map(tell)).await;
        let listens = lock(&self.watchers.listens).clone();
        join_all(listens.iter().map(|sink| sink.notify_resource_updated(uri.clone()))).await;
        format!("touched {uri}")
    }
}

#[tool_handler(router = self.router)]
impl ServerHandler for Tools {
    fn get_info(&self) -> ServerConfig {
        let capabilities = ServerCapabilities::builder().enable_tools().enable_resources().enable_resources_subscribe();
        ServerConfig::new(capabilities.build())
    }

    #[allow(deprecated, reason = "it is what sessions have")]
    async fn subscribe(&self, _: SubscribeRequestParams, context: RequestContext<RoleServer>) -> Result<(), ErrorData> {
        lock(&self.watchers.sessions).push(context.peer);
        Ok(())
    }

    fn accepted_subscription_filter(&self, requested: &SubscriptionFilter) -> Option<SubscriptionFilter> {
        Some(requested.clone())
    }

    async fn listen(&self, context: SubscriptionContext) -> Result<(), ErrorData> {
        lock(&self.watchers.listens).push(context.sink().clone());
        context.cancelled().await;
        Ok(())
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Over standard input and output.
///
/// # Errors
/// The conversation does not begin.
pub(super) async fn stdio() -> Result<(), Error> {
    let running = Tools::new().serve(rmcp::transport::stdio()).await?;
    running.waiting().await?;
    Ok(())
}

/// One of its kinds.
pub(super) type Endpoint = StreamableHttpService<Tools, LocalSessionManager>;

/// With a session per client.
pub fn sessions() -> Arc<Endpoint> {
    service(StreamableHttpServerConfig::default())
}

/// Without sessions, in both eras. Calls that report nothing are answered in JSON.
pub fn stateless() -> Arc<Endpoint> {
    service(StreamableHttpServerConfig::default().with_legacy_session_mode(false).with_json_response(true))
}

/// Without sessions, and with its own default for answers: a stream of events each.
pub(super) fn stateless_sse() -> Arc<Endpoint> {
    service(StreamableHttpServerConfig::default().with_legacy_session_mode(false))
}

fn service(config: StreamableHttpServerConfig) -> Arc<Endpoint> {
    let tools = Tools::new();
    Arc::new(StreamableHttpService::new(move || Ok(tools.clone()), Arc::new(LocalSessionManager::default()), config))
}
