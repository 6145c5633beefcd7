//! Tokens: got in the browser, kept where [`tokens`](super::tokens) says.

use std::sync::Arc;

use andon::auth::{AuthError, AuthorizationRequest, Loopback, OAuth, UserAgent, open_in_browser};

use super::connect::Place;
use super::tokens::{Choice, Promise, Tokens};
use super::{Failure, usage};

/// The token of the person for the server at `url`, in `store`. `may_ask` allows to open a browser.
pub(super) fn oauth(url: &str, store: Arc<Tokens>, may_ask: bool) -> Result<OAuth, Failure> {
    let builder = OAuth::builder(url).store(store);
    if !may_ask {
        return builder.interactive(Nobody(url.to_owned())).build().map_err(failed);
    }
    let agent = Loopback::new(|page| {
        eprintln!("Log in here, if no browser opens by itself:\n  {page}");
        // Whoever has no browser here can follow the link elsewhere.
        if let Err(error) = open_in_browser(page) {
            tracing::debug!(%error, "no browser");
        }
        Ok(())
    });
    builder.interactive(agent).build().map_err(failed)
}

/// There is no person to ask for a login to this server.
struct Nobody(String);

impl Nobody {
    fn refuse(&self) -> Promise<'_, String> {
        Box::pin(async { Err(AuthError::Denied(format!("log in first: andon login {}", self.0))) })
    }
}

impl UserAgent for Nobody {
    /// Before this client makes itself known to anybody.
    fn redirect_uri(&self) -> Promise<'_, String> {
        self.refuse()
    }

    fn authorize<'a>(&'a self, _request: &'a AuthorizationRequest) -> Promise<'a, String> {
        self.refuse()
    }
}

pub(super) async fn login(place: &Place, choice: Choice) -> Result<(), Failure> {
    let (url, tokens) = (url(place)?, Arc::new(Tokens::new(choice)?));
    tokens.prefer_keyring().await.map_err(failed)?;
    oauth(url, tokens.clone(), true)?.login().await.map_err(failed)?;
    tokens.forget_others(url).await.map_err(failed)?;
    println!("logged in to {url}; the token is in {tokens}");
    Ok(())
}

pub(super) async fn logout(place: &Place, choice: Choice) -> Result<(), Failure> {
    let (url, tokens) = (url(place)?, Arc::new(Tokens::new(choice)?));
    oauth(url, tokens, false)?.logout().await.map_err(failed)?;
    println!("forgot the token for {url}");
    Ok(())
}

fn url(place: &Place) -> Result<&str, Failure> {
    match place {
        Place::Url(url) => Ok(url),
        Place::Command(_) => Err(usage("a program needs no login; only servers with a URL do")),
    }
}

fn failed(error: AuthError) -> Failure {
    Failure::Login(error.to_string())
}
