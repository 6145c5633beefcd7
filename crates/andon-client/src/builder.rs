//! How a client is, before it connects.

use std::collections::HashMap;
use std::future::Future;
use std::sync::{Arc, LazyLock, Mutex, PoisonError};
use std::time::Duration;

use andon_types::capability::ClientCapabilities;
use andon_types::client::Root;
use andon_types::error::ErrorObject;
use andon_types::meta::{Implementation, Level};
use andon_types::revision::{Era, Revision};
use http::{HeaderMap, HeaderName, HeaderValue};
use serde_json::{Map, Value};

use crate::answer::{Answers, Consent, Filled, Form, Question, Visit, handler};
use crate::authorize::Authorizer;
use crate::client::Client;
use crate::driver::{Driver, OnLog, OnStderr};
use crate::error::Error;
use crate::link::http::{Figures, HttpOptions};
use crate::secrets::Secrets;
use crate::target::{Kind, Target};

/// Whether a server process that ends, or a connection that breaks, is replaced when the next call needs it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Restart {
    /// No: the client is over with it.
    Never,
    /// Yes, after a wait that doubles from 250 ms to 30 s, until as many attempts in a row failed.
    UpTo(u32),
}

/// What a client is made of.
pub struct Builder {
    target: Target,
    pub(crate) settings: Settings,
    headers: HeaderMap,
    authorizer: Option<Arc<dyn Authorizer>>,
    http: Option<reqwest::Client>,
    bad: Option<String>,
}

pub(crate) struct Settings {
    pub(crate) info: Implementation,
    pub(crate) answers: Answers,
    pub(crate) pinned: Option<Revision>,
    pub(crate) first: Option<Era>,
    pub(crate) timeout: Duration,
    pub(crate) timeout_max: Duration,
    pub(crate) probe_timeout: Duration,
    pub(crate) open_timeout: Duration,
    pub(crate) message_bytes_max: usize,
    pub(crate) questions_max: usize,
    pub(crate) restart: Restart,
    pub(crate) is_strict: bool,
    pub(crate) caches: bool,
    pub(crate) on_log: Option<OnLog>,
    pub(crate) on_stderr: Option<OnStderr>,
}

impl Builder {
    pub(crate) fn new(target: Target) -> Self {
        let settings = Settings {
            info: Implementation::new("andon", env!("CARGO_PKG_VERSION")),
            answers: Answers::default(),
            pinned: None,
            first: None,
            timeout: Duration::from_secs(60),
            timeout_max: Duration::from_secs(15 * 60),
            probe_timeout: Duration::from_secs(5),
            open_timeout: Duration::from_secs(60),
            message_bytes_max: 16 << 20,
            questions_max: 16,
            restart: Restart::UpTo(5),
            is_strict: false,
            caches: true,
            on_log: None,
            on_stderr: None,
        };
        Self { target, settings, headers: HeaderMap::new(), authorizer: None, http: None, bad: None }
    }

    /// Who the client says it is. Default: this library.
    #[must_use]
    pub fn info(mut self, name: impl Into<String>, version: impl Into<String>) -> Self {
        self.settings.info = Implementation::new(name, version);
        self
    }

    /// Speaks this revision and no other. Default: the newest that both sides know.
    #[must_use]
    pub fn protocol(mut self, revision: Revision) -> Self {
        self.settings.pinned = Some(revision);
        self
    }

    /// Tries this era first, and speaks it if the server does. Default: the modern one.
    #[must_use]
    pub fn first_try(mut self, era: Era) -> Self {
        self.settings.first = Some(era);
        self
    }

    /// How long a call may take, each time from its beginning or its last progress. Default 60 s.
    #[must_use]
    pub fn timeout(mut self, timeout: Duration) -> Self {
        self.settings.timeout = timeout;
        self
    }

    /// How long a call may take in all, whatever it reports. Default 15 min.
    #[must_use]
    pub fn timeout_max(mut self, max: Duration) -> Self {
        self.settings.timeout_max = max;
        self
    }

    /// How long a server may take to say whether it speaks the newest revision, before older ones are tried.
    /// Default 5 s.
    #[must_use]
    pub fn probe_timeout(mut self, timeout: Duration) -> Self {
        self.settings.probe_timeout = timeout;
        self
    }

    /// How long a server may take to answer the handshake, its start included. Default 60 s.
    #[must_use]
    pub fn open_timeout(mut self, timeout: Duration) -> Self {
        self.settings.open_timeout = timeout;
        self
    }

    /// Bytes of one message of the server. Default 16 MiB. A larger one fails its call.
    #[must_use]
    pub fn message_bytes_max(mut self, bytes: usize) -> Self {
        self.settings.message_bytes_max = bytes;
        self
    }

    /// Questions of the server at once, of all calls; the 17th of one call is refused in any case, as is the 17th that does
    /// not say of which call it is. Default 16: for programs that make calls for many others.
    #[must_use]
    pub fn questions_max(mut self, max: usize) -> Self {
        self.settings.questions_max = max;
        self
    }

    /// What happens when the server's process or connection is gone. Default: 5 attempts.
    #[must_use]
    pub fn restart(mut self, restart: Restart) -> Self {
        self.settings.restart = restart;
        self
    }

    /// Refuses to ask for what the server does not declare, before it is sent.
    #[must_use]
    pub fn strict(mut self) -> Self {
        self.settings.is_strict = true;
        self
    }

    /// Keeps no lists and no resources, whatever the server allows. Default: as long as the server says.
    #[must_use]
    pub fn without_cache(mut self) -> Self {
        self.settings.caches = false;
        self
    }

    /// A header of every HTTP request. In what is told of the server (why it is gone, errors) the value, if it has 8 bytes or
    /// more, is replaced by the name: `${name}`.
    #[must_use]
    pub fn header(mut self, name: &str, value: &str) -> Self {
        match (HeaderName::from_bytes(name.as_bytes()), HeaderValue::from_str(value)) {
            (Ok(name), Ok(value)) => drop(self.headers.append(name, value)),
            _ => self.bad = Some(format!("{name:?} is no header, or its value has characters that no header can have")),
        }
        self
    }

    /// Who puts credentials on HTTP requests.
    #[must_use]
    pub fn authorizer(mut self, authorizer: impl Authorizer + 'static) -> Self {
        self.authorizer = Some(Arc::new(authorizer));
        self
    }

    /// The HTTP client to use, with its pool. It must not follow redirects by itself.
    #[must_use]
    pub fn http_client(mut self, client: reqwest::Client) -> Self {
        self.http = Some(client);
        self
    }

    /// Fills forms. Declares elicitation by form.
    #[must_use]
    pub fn on_form<F>(mut self, fill: impl Fn(Form) -> F + Send + Sync + 'static) -> Self
    where
        F: Future<Output = Filled> + Send + 'static,
    {
        self.settings.answers.form = Some(handler(fill));
        self
    }

    /// Shows pages that the server wants visited, if the person agrees. Declares elicitation by URL.
    #[must_use]
    pub fn on_visit<F>(mut self, visit: impl Fn(Visit) -> F + Send + Sync + 'static) -> Self
    where
        F: Future<Output = Consent> + Send + 'static,
    {
        self.settings.answers.visit = Some(handler(visit));
        self
    }

    /// Samples from a model: parameters of `sampling/createMessage` to its result. Declares sampling.
    #[must_use]
    pub fn on_sample<F>(mut self, sample: impl Fn(Map<String, Value>) -> F + Send + Sync + 'static) -> Self
    where
        F: Future<Output = Result<Value, ErrorObject>> + Send + 'static,
    {
        self.settings.answers.sample = Some(handler(sample));
        self
    }

    /// Sampling understands tools as well.
    #[must_use]
    pub fn sample_with_tools(mut self) -> Self {
        self.settings.answers.samples_with_tools = true;
        self
    }

    /// Opens these folders to the server. Declares roots.
    #[must_use]
    pub fn roots(mut self, roots: impl IntoIterator<Item = Root>) -> Self {
        self.settings.answers.roots = Some(Arc::new(Mutex::new(roots.into_iter().collect())));
        self
    }

    /// Answers every question of the server by `answer`, which is given it as it came and gives the result that travels:
    /// for programs that pass questions on. What the client declares is `capabilities`, and the other handlers are not
    /// asked.
    #[must_use]
    pub fn on_question<F>(
        mut self,
        capabilities: ClientCapabilities,
        answer: impl Fn(Question) -> F + Send + Sync + 'static,
    ) -> Self
    where
        F: Future<Output = Result<Value, ErrorObject>> + Send + 'static,
    {
        self.settings.answers.any = Some((handler(answer), capabilities));
        self
    }

    /// Told what the server logs, in order with the answers to calls; then it is no event. Must neither block nor make calls.
    #[must_use]
    pub fn on_log(mut self, listen: impl Fn(Level, Option<String>, Value) + Send + Sync + 'static) -> Self {
        self.settings.on_log = Some(Arc::new(listen));
        self
    }

    /// Told each line that the server's process writes to its standard error, from its start on, when there are no events
    /// yet. Must neither block nor make calls.
    #[must_use]
    pub fn on_stderr(mut self, listen: impl Fn(&str) + Send + Sync + 'static) -> Self {
        self.settings.on_stderr = Some(Arc::new(listen));
        self
    }

    /// Declares a capability that this library does not know, or an extension: a member of the capabilities.
    #[must_use]
    pub fn declare(mut self, name: impl Into<String>, value: Value) -> Self {
        self.settings.answers.declared.insert(name.into(), value);
        self
    }

    /// Connects, and finds out what the server speaks.
    ///
    /// # Errors
    /// When the target is none, the server cannot be reached, or there is no common revision.
    pub async fn connect(self) -> Result<Client, Error> {
        if let Some(why) = self.bad {
            return Err(Error::Target(why));
        }
        let figures = Arc::new(Figures::default());
        let secrets = Arc::new(Secrets::of(&self.target.0, &self.headers));
        let reach = match self.target.0 {
            Kind::Bad(why) => return Err(Error::Target(why)),
            Kind::Url(text) => {
                let url = url::Url::parse(&text).map_err(|error| Error::Target(format!("{text:?}: {error}")))?;
                if !url.username().is_empty() || url.password().is_some() {
                    let why = "a URL with a user name or password is refused: use the Authorization header";
                    return Err(Error::Target(why.to_owned()));
                }
                let client = match self.http {
                    Some(client) => Some(client),
                    None if url.scheme() == "http" => None,
                    None => Some(http_client().map_err(Error::Target)?),
                };
                Reach::Http(Box::new(HttpOptions {
                    url,
                    headers: self.headers,
                    secrets: secrets.clone(),
                    authorizer: self.authorizer,
                    message_bytes_max: self.settings.message_bytes_max,
                    client,
                    figures: figures.clone(),
                }))
            }
            kind => Reach::Pipe(Mutex::new(Some(kind))),
        };
        let driver = Driver::new(self.settings, reach, secrets);
        driver.open().await?;
        Ok(Client::new(driver, figures))
    }
}

/// How to get a link, again and again.
pub(crate) enum Reach {
    Http(Box<HttpOptions>),
    /// Streams can be used once; the others as often as it takes.
    Pipe(Mutex<Option<Kind>>),
}

/// An HTTP client whose idle connections are closed after 60 s, that follows no redirects, asks no proxy of the
/// environment, and trusts what the system trusts.
fn http_client() -> Result<reqwest::Client, String> {
    static SHARED: LazyLock<Result<reqwest::Client, String>> = LazyLock::new(|| {
        const IDLE: Duration = Duration::from_secs(60);
        const CONNECT: Duration = Duration::from_secs(10);
        // Another part of the program may have chosen one already.
        drop(rustls::crypto::ring::default_provider().install_default());
        reqwest::Client::builder()
            .redirect(reqwest::redirect::Policy::none())
            .pool_idle_timeout(IDLE)
            .connect_timeout(CONNECT)
            .tcp_nodelay(true)
            .no_proxy()
            .user_agent(concat!("andon/", env!("CARGO_PKG_VERSION")))
            .build()
            .map_err(|error| format!("no HTTP client: {error}"))
    });
    SHARED.clone()
}

/// What was found out about servers, so that the next client of this process need not try.
pub(crate) struct Verdicts(Mutex<HashMap<String, Era>>);

impl Verdicts {
    pub(crate) fn get(&self, url: &str) -> Option<Era> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).get(url).copied()
    }

    pub(crate) fn set(&self, url: &str, era: Era) {
        const MOST: usize = 1024;
        let mut known = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if known.len() >= MOST {
            known.clear();
        }
        known.insert(url.to_owned(), era);
    }
}

/// The verdicts of this process, by URL.
pub(crate) static VERDICTS: LazyLock<Verdicts> = LazyLock::new(|| Verdicts(Mutex::default()));
