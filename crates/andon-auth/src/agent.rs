//! How a person is asked: a browser that comes back to this machine, or nobody at all where none is needed.

use std::sync::Arc;
use std::time::Duration;

use futures_util::FutureExt as _;
use futures_util::future::BoxFuture;
use reqwest::Method;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::OnceCell;
use url::Url;

use crate::error::AuthError;
use crate::net::{Net, Reach, failed};

/// What the person is to be shown.
#[derive(Debug, Clone)]
pub struct AuthorizationRequest {
    /// The authorization endpoint with all its parameters.
    pub url: String,
    /// Where the browser comes back to.
    pub redirect_uri: String,
}

/// Gets a person's consent.
pub trait UserAgent: Send + Sync {
    /// Where the browser will come back to. The same each time.
    fn redirect_uri(&self) -> BoxFuture<'_, Result<String, AuthError>>;

    /// Shows the request and waits for the redirect: its whole URL.
    fn authorize<'a>(&'a self, request: &'a AuthorizationRequest) -> BoxFuture<'a, Result<String, AuthError>>;
}

type Show = Arc<dyn Fn(&str) -> Result<(), AuthError> + Send + Sync>;

/// A browser on this machine, which comes back to a port of 127.0.0.1 that is open as long as this agent.
pub struct Loopback {
    listener: OnceCell<TcpListener>,
    show: Show,
    timeout: Duration,
}

/// Preferred, because some authorization servers remember the port of a redirect.
const PORT: u16 = 33_418;
/// Bytes of a request that is looked at.
const REQUEST_BYTES_MAX: usize = 16 << 10;
/// How long a browser may take to send its request.
const READ_TIMEOUT: Duration = Duration::from_secs(10);
const PATH: &str = "/callback";

impl Default for Loopback {
    fn default() -> Self {
        Self::new(open_in_browser)
    }
}

impl Loopback {
    /// Shows the URL in this way, for instance by opening a browser or by printing it. Waits 5 minutes.
    pub fn new(show: impl Fn(&str) -> Result<(), AuthError> + Send + Sync + 'static) -> Self {
        Self { listener: OnceCell::new(), show: Arc::new(show), timeout: Duration::from_secs(300) }
    }

    /// Waits so long for the person.
    #[must_use]
    pub fn timeout(mut self, timeout: Duration) -> Self {
        self.timeout = timeout;
        self
    }

    async fn listener(&self) -> Result<&TcpListener, AuthError> {
        let bind = || async {
            match TcpListener::bind(("127.0.0.1", PORT)).await {
                Ok(listener) => Ok(listener),
                Err(_) => TcpListener::bind(("127.0.0.1", 0)).await,
            }
        };
        let bound = self.listener.get_or_try_init(bind).await;
        bound.map_err(|error| AuthError::Network(format!("no port for the browser to come back to: {error}")))
    }

    /// Any page that the person has open can call this port: what is not for `state` is answered and forgotten.
    async fn wait(&self, listener: &TcpListener, redirect_uri: &str, state: &str) -> Result<String, AuthError> {
        loop {
            let (mut socket, _) = listener
                .accept()
                .await
                .map_err(|error| AuthError::Network(format!("waiting for the browser: {error}")))?;
            let target = tokio::time::timeout(READ_TIMEOUT, read_target(&mut socket)).await.ok().flatten();
            let found = target.and_then(|target| {
                let (path, query) = target.split_once('?')?;
                let mut states = url::form_urlencoded::parse(query.as_bytes()).filter(|(name, _)| name == "state");
                let is_ours = path == PATH && states.next().is_some_and(|(_, value)| value == state);
                is_ours.then(|| format!("{redirect_uri}?{query}"))
            });
            let (status, text) = match &found {
                Some(_) => ("200 OK", "You can close this window and go back to your program."),
                None => ("404 Not Found", "There is nothing here."),
            };
            let answer = format!(
                "HTTP/1.1 {status}\r\nContent-Type: text/plain; charset=utf-8\r\nContent-Length: {}\r\n\
                 Cache-Control: no-store\r\nReferrer-Policy: no-referrer\r\nConnection: close\r\n\r\n{text}",
                text.len()
            );
            // A browser that is gone already has said what it had to say.
            drop(socket.write_all(answer.as_bytes()).await);
            if let Some(found) = found {
                return Ok(found);
            }
        }
    }
}

impl UserAgent for Loopback {
    fn redirect_uri(&self) -> BoxFuture<'_, Result<String, AuthError>> {
        async {
            let address = self.listener().await?.local_addr();
            let address = address.map_err(|error| AuthError::Network(error.to_string()))?;
            Ok(format!("http://127.0.0.1:{}{PATH}", address.port()))
        }
        .boxed()
    }

    fn authorize<'a>(&'a self, request: &'a AuthorizationRequest) -> BoxFuture<'a, Result<String, AuthError>> {
        async move {
            let listener = self.listener().await?;
            (self.show)(&request.url)?;
            let state = Url::parse(&request.url).ok().and_then(|url| {
                let found = url.query_pairs().find(|(name, _)| name == "state");
                found.map(|(_, value)| value.into_owned())
            });
            let state = state.ok_or_else(|| AuthError::Unsafe("the request has no state".to_owned()))?;
            let waiting = self.wait(listener, &request.redirect_uri, &state);
            let came = tokio::time::timeout(self.timeout, waiting).await;
            came.map_err(|_| AuthError::Denied("nobody came back from the browser in time".to_owned()))?
        }
        .boxed()
    }
}

/// The target of a GET request. It is read to its end: a connection that is closed before tells a browser nothing.
async fn read_target(socket: &mut TcpStream) -> Option<String> {
    let mut head = Vec::new();
    let mut piece = [0; 1024];
    while !head.ends_with(b"\r\n\r\n") {
        let read = socket.read(&mut piece).await.ok()?;
        if read == 0 || head.len() + read > REQUEST_BYTES_MAX {
            return None;
        }
        head.extend_from_slice(&piece[..read]);
    }
    let line = String::from_utf8(head).ok()?;
    let mut words = line.lines().next()?.split(' ');
    (words.next() == Some("GET")).then(|| words.next().map(str::to_owned)).flatten()
}

/// Opens `url` in the person's browser: a web address, handed over as one argument, and never through a shell.
///
/// # Errors
/// When it is no web address, or no browser can be started.
pub fn open_in_browser(url: &str) -> Result<(), AuthError> {
    let parsed = Url::parse(url).map_err(|error| AuthError::Unsafe(format!("no URL to open: {error}")))?;
    if !matches!(parsed.scheme(), "https" | "http") {
        return Err(AuthError::Unsafe(format!("a {} URL is not opened", crate::error::shown(parsed.scheme()))));
    }
    // As the parser wrote it: no spaces, quotes or control characters are left.
    let url = parsed.as_str();
    let mut command = if cfg!(target_os = "macos") {
        let mut command = std::process::Command::new("open");
        command.arg(url);
        command
    } else if cfg!(windows) {
        let mut command = std::process::Command::new("rundll32");
        command.args(["url.dll,FileProtocolHandler", url]);
        command
    } else {
        let mut command = std::process::Command::new("xdg-open");
        command.arg(url);
        command
    };
    let null = std::process::Stdio::null;
    let started = command.stdin(null()).stdout(null()).stderr(null()).spawn();
    match started {
        Ok(mut child) => {
            // Waited for elsewhere, so that it does not stay behind as a zombie.
            std::thread::spawn(move || drop(child.wait()));
            Ok(())
        }
        Err(error) => Err(AuthError::Denied(format!("no browser can be started ({error}); open this yourself: {url}"))),
    }
}

/// Nobody: asks the authorization endpoint itself and reads where it redirects to. For authorization servers that
/// consent by themselves, as those of tests do.
pub struct Headless {
    redirect_uri: String,
    reach: Reach,
}

impl Headless {
    /// Says that the browser comes back here, where nothing has to listen.
    pub fn new(redirect_uri: impl Into<String>, reach: Reach) -> Self {
        Self { redirect_uri: redirect_uri.into(), reach }
    }
}

impl UserAgent for Headless {
    fn redirect_uri(&self) -> BoxFuture<'_, Result<String, AuthError>> {
        async { Ok(self.redirect_uri.clone()) }.boxed()
    }

    fn authorize<'a>(&'a self, request: &'a AuthorizationRequest) -> BoxFuture<'a, Result<String, AuthError>> {
        async move {
            let net = Net::new(self.reach)?;
            let response = net.request(Method::GET, &request.url)?.send().await.map_err(|error| failed(&error))?;
            let location = response.headers().get("location").and_then(|location| location.to_str().ok());
            location.map(str::to_owned).ok_or_else(|| {
                AuthError::Denied(format!("the authorization endpoint answers with HTTP {}", response.status()))
            })
        }
        .boxed()
    }
}

#[cfg(test)]
mod tests {
    use std::sync::{Arc, Mutex};
    use std::time::Duration;

    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

    use super::{AuthorizationRequest, Loopback, UserAgent as _, open_in_browser};

    #[test]
    fn a18_only_web_addresses_are_opened() {
        for url in ["file:///etc/passwd", "javascript:alert(1)", "calc.exe", "$(touch x)", "data:text/html,x", "", "-a"]
        {
            assert!(open_in_browser(url).is_err(), "{url}");
        }
    }

    #[tokio::test]
    async fn the_browser_comes_back_with_a_query_and_other_visitors_do_not_matter() {
        let shown = Arc::new(Mutex::new(String::new()));
        let seen = shown.clone();
        let agent = Loopback::new(move |url| {
            seen.lock().expect("no panic").push_str(url);
            Ok(())
        });
        let redirect_uri = agent.redirect_uri().await.expect("a port");
        let address = redirect_uri.strip_prefix("http://").and_then(|rest| rest.strip_suffix("/callback"));
        let address = address.expect("a loopback URL").to_owned();
        let request = AuthorizationRequest { url: "https://as.example/authorize?state=s".into(), redirect_uri };
        let visit = async |target: &str| {
            let mut socket = tokio::net::TcpStream::connect(&address).await.expect("listens");
            socket.write_all(format!("GET {target} HTTP/1.1\r\nHost: x\r\n\r\n").as_bytes()).await.expect("sent");
            let mut answer = String::new();
            socket.read_to_string(&mut answer).await.expect("an answer");
            answer
        };
        let (came, ()) = tokio::join!(agent.authorize(&request), async {
            assert!(visit("/favicon.ico").await.starts_with("HTTP/1.1 404"));
            assert!(visit("/callback?code=evil&state=guess").await.starts_with("HTTP/1.1 404"));
            assert!(visit("/callback?code=evil").await.starts_with("HTTP/1.1 404"));
            assert!(visit("/callback?code=c&state=s").await.starts_with("HTTP/1.1 200"));
        });
        assert_eq!(came.expect("came back"), format!("{}?code=c&state=s", request.redirect_uri));
        assert_eq!(*shown.lock().expect("no panic"), request.url);
    }

    #[tokio::test(start_paused = true)]
    async fn nobody_is_waited_for_without_end() {
        let agent = Loopback::new(|_| Ok(())).timeout(Duration::from_secs(60));
        let redirect_uri = agent.redirect_uri().await.expect("a port");
        let request = AuthorizationRequest { url: "https://as.example/?state=s".into(), redirect_uri };
        assert!(agent.authorize(&request).await.expect_err("in time").to_string().contains("in time"));
    }
}
