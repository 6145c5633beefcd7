//! A client in the same process, for tests of servers: no socket, no child process, the real machines.

use std::collections::HashMap;
use std::fmt;
use std::sync::atomic::{AtomicI64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use andon_types::error::ErrorObject;
use andon_types::meta::{CLIENT_CAPABILITIES, CLIENT_INFO, PROTOCOL_VERSION};
use andon_types::revision::{Era, Revision};
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::{Map, Value, json};
use tokio::sync::{mpsc, oneshot};

use crate::host::{Connection, Host, ResponseStream};
use crate::principal::Principal;
use crate::server::Server;

/// Answers a request of the server: method and parameters to a result.
type Responder = Box<dyn Fn(&str, &Value) -> Result<Value, ErrorObject> + Send + Sync>;

/// Who the client is.
pub struct ClientOptions {
    revision: Revision,
    capabilities: Value,
    principal: Principal,
    responder: Responder,
}

impl Default for ClientOptions {
    /// The newest legacy revision, no capabilities, anonymous.
    fn default() -> Self {
        Self {
            revision: Revision::LATEST_LEGACY,
            capabilities: json!({}),
            principal: Principal::anonymous(),
            responder: Box::new(|method, _| Err(ErrorObject::method_not_found(method))),
        }
    }
}

impl ClientOptions {
    /// The protocol revision that it speaks.
    #[must_use]
    pub fn revision(mut self, revision: Revision) -> Self {
        self.revision = revision;
        self
    }

    /// What it declares.
    #[must_use]
    pub fn capabilities(mut self, capabilities: Value) -> Self {
        self.capabilities = capabilities;
        self
    }

    /// Whose credentials it has.
    #[must_use]
    pub fn principal(mut self, principal: Principal) -> Self {
        self.principal = principal;
        self
    }

    /// How it answers elicitation, sampling and roots, in both eras.
    #[must_use]
    pub fn answering(
        mut self,
        responder: impl Fn(&str, &Value) -> Result<Value, ErrorObject> + Send + Sync + 'static,
    ) -> Self {
        self.responder = Box::new(responder);
        self
    }
}

impl Server {
    /// A client of this server, for tests.
    ///
    /// # Panics
    /// When the server cannot be built, or not within a tokio runtime.
    pub async fn client(self) -> Client {
        self.client_with(ClientOptions::default()).await
    }

    /// A client that says of itself what `options` say, for tests.
    ///
    /// # Panics
    /// When the server cannot be built, or not within a tokio runtime.
    pub async fn client_with(self, options: ClientOptions) -> Client {
        let host = self.build().unwrap_or_else(|error| panic!("the server cannot be built: {error}"));
        Client::connect(&host, options).await
    }
}

/// A client in the same process.
pub struct Client(Arc<Inner>);

struct Inner {
    connection: Connection,
    revision: Revision,
    capabilities: Value,
    responder: Responder,
    next_id: AtomicI64,
    pending: Mutex<HashMap<i64, oneshot::Sender<Result<Value, ErrorObject>>>>,
    notifications: tokio::sync::Mutex<mpsc::UnboundedReceiver<(String, Value)>>,
}

/// Why a call brought no `T`.
#[derive(Debug)]
pub enum CallError {
    /// The tool failed; what the model sees.
    Tool(String),
    /// The protocol answered.
    Protocol(ErrorObject),
    /// The result is no `T`.
    Shape(String),
}

impl fmt::Display for CallError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Tool(text) => write!(f, "the tool failed: {text}"),
            Self::Protocol(error) => error.fmt(f),
            Self::Shape(why) => write!(f, "the result has another shape: {why}"),
        }
    }
}

impl std::error::Error for CallError {}

impl Client {
    /// Connects to `host` and shakes hands, where the revision has a handshake.
    ///
    /// # Panics
    /// When the server refuses the handshake, or not within a tokio runtime.
    pub async fn connect(host: &Arc<Host>, options: ClientOptions) -> Self {
        let (connection, stream) = host.connect(options.principal);
        let (heard, notifications) = mpsc::unbounded_channel();
        let inner = Arc::new(Inner {
            connection,
            revision: options.revision,
            capabilities: options.capabilities,
            responder: options.responder,
            next_id: AtomicI64::new(1),
            pending: Mutex::default(),
            notifications: tokio::sync::Mutex::new(notifications),
        });
        tokio::spawn(listen(Arc::downgrade(&inner), stream, heard));
        let client = Self(inner);
        if options.revision.era() == Era::Legacy {
            let opening = json!({
                "protocolVersion": options.revision.as_str(),
                "capabilities": client.0.capabilities,
                "clientInfo": client_info(),
            });
            let opened = client.request("initialize", opening).await;
            opened.unwrap_or_else(|error| panic!("the server refused to initialize: {error}"));
            client.notify("notifications/initialized", json!({}));
        }
        client
    }

    /// Calls a tool, and reads its structured content, or else its text, as a `T`. Questions of the tool are answered
    /// as [`ClientOptions::answering`] says, in both eras.
    ///
    /// # Errors
    /// See [`CallError`].
    pub async fn call<T: DeserializeOwned>(&self, name: &str, arguments: impl Serialize) -> Result<T, CallError> {
        let arguments = serde_json::to_value(arguments).map_err(|error| CallError::Shape(error.to_string()))?;
        let result = self.call_raw(name, arguments).await.map_err(CallError::Protocol)?;
        let text = result["content"].as_array().into_iter().flatten().filter_map(|block| block["text"].as_str());
        let text: String = text.collect();
        if result["isError"] == true {
            return Err(CallError::Tool(text));
        }
        let value = match result.get("structuredContent") {
            Some(structured) => structured.clone(),
            None => serde_json::from_str(&text).unwrap_or_else(|_| Value::String(text.clone())),
        };
        serde_json::from_value(value)
            .or_else(|_| serde_json::from_value(Value::String(text)))
            .map_err(|error| CallError::Shape(error.to_string()))
    }

    /// Calls a tool, answers what it asks, and returns its result as it came.
    ///
    /// # Errors
    /// The JSON-RPC error.
    pub async fn call_raw(&self, name: &str, arguments: Value) -> Result<Value, ErrorObject> {
        self.ask("tools/call", json!({ "name": name, "arguments": arguments })).await
    }

    /// Sends a request and answers what it asks: in the modern era it is sent again with the answers until it is
    /// complete, at most 10 times.
    ///
    /// # Errors
    /// The JSON-RPC error, or the client's own when it has no answer.
    pub async fn ask(&self, method: &str, params: Value) -> Result<Value, ErrorObject> {
        const ROUNDS_MAX: usize = 10;
        let mut retry = params.clone();
        for _ in 0..ROUNDS_MAX {
            let result = self.request(method, retry).await?;
            if result["resultType"] != "input_required" {
                return Ok(result);
            }
            let mut answers = Map::new();
            for (key, request) in result["inputRequests"].as_object().into_iter().flatten() {
                let asked = request["method"].as_str().unwrap_or_default();
                answers.insert(key.clone(), (self.0.responder)(asked, &request["params"])?);
            }
            retry = params.clone();
            retry["inputResponses"] = answers.into();
            if let Some(state) = result.get("requestState") {
                retry["requestState"] = state.clone();
            }
        }
        Err(ErrorObject::invalid_request("the server never stops asking"))
    }

    /// Sends one request and returns its result as it came. A modern request gets the `_meta` that it has to have.
    ///
    /// # Errors
    /// The JSON-RPC error.
    pub async fn request(&self, method: &str, params: Value) -> Result<Value, ErrorObject> {
        let (_, answer) = self.start(method, params);
        answer.await.unwrap_or_else(|_| Err(ErrorObject::invalid_request("the connection ended")))
    }

    /// Sends one request, and returns its id and its answer to come.
    pub fn start(&self, method: &str, mut params: Value) -> (i64, oneshot::Receiver<Result<Value, ErrorObject>>) {
        if self.0.revision.era() == Era::Modern {
            let meta = &mut params["_meta"];
            meta[PROTOCOL_VERSION] = self.0.revision.as_str().into();
            meta[CLIENT_INFO] = client_info();
            meta[CLIENT_CAPABILITIES] = self.0.capabilities.clone();
        }
        let id = self.0.next_id.fetch_add(1, Ordering::Relaxed);
        let (sender, receiver) = oneshot::channel();
        self.0.pending.lock().unwrap_or_else(PoisonError::into_inner).insert(id, sender);
        self.0.send(&json!({ "jsonrpc": "2.0", "id": id, "method": method, "params": params }));
        (id, receiver)
    }

    /// Sends a notification.
    pub fn notify(&self, method: &str, params: Value) {
        self.0.send(&json!({ "jsonrpc": "2.0", "method": method, "params": params }));
    }

    /// The next notification of the server: method and parameters. `None` when the connection ended.
    pub async fn notification(&self) -> Option<(String, Value)> {
        self.0.notifications.lock().await.recv().await
    }

    /// The next notification of this method; others before it are dropped.
    ///
    /// # Panics
    /// When the connection ends first.
    pub async fn expect(&self, method: &str) -> Value {
        loop {
            match self.notification().await {
                Some((known, params)) if known == method => return params,
                Some(_) => {}
                None => panic!("the connection ended without {method}"),
            }
        }
    }
}

impl Inner {
    fn send(&self, message: &Value) {
        self.connection.receive(message.to_string().as_bytes());
    }
}

fn client_info() -> Value {
    json!({ "name": "andon-testing", "version": env!("CARGO_PKG_VERSION") })
}

/// Reads what the server says until it ends or the client is gone.
async fn listen(
    client: std::sync::Weak<Inner>,
    mut stream: ResponseStream,
    heard: mpsc::UnboundedSender<(String, Value)>,
) {
    while let Some(frame) = stream.next().await {
        let Some(client) = client.upgrade() else { return };
        let Some(Ok(message)) = frame.text.as_deref().map(serde_json::from_str::<Value>) else { continue };
        let method = message["method"].as_str().map(str::to_owned);
        match (method, message.get("id")) {
            (Some(method), Some(id)) => {
                let answer = match (client.responder)(&method, &message["params"]) {
                    Ok(result) => json!({ "jsonrpc": "2.0", "id": id, "result": result }),
                    Err(error) => json!({ "jsonrpc": "2.0", "id": id, "error": error }),
                };
                client.send(&answer);
            }
            (Some(method), None) => {
                // Nobody has to listen to notifications.
                let _ = heard.send((method, message["params"].clone()));
            }
            (None, id) => {
                let waiting = id
                    .and_then(Value::as_i64)
                    .and_then(|id| client.pending.lock().unwrap_or_else(PoisonError::into_inner).remove(&id));
                let answer = match message.get("error") {
                    Some(error) => {
                        Err(serde_json::from_value(error.clone()).unwrap_or_else(|_| ErrorObject::internal()))
                    }
                    None => Ok(message["result"].clone()),
                };
                if let Some(waiting) = waiting {
                    // Whoever gave up waiting needs no answer.
                    let _ = waiting.send(answer);
                }
            }
        }
    }
}
