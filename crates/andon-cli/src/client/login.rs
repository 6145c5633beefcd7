//! Tokens: got in the browser, kept in a file that only its owner reads.

use std::path::PathBuf;

use andon::auth::{AuthError, FileStore, Loopback, OAuth, open_in_browser};

use super::connect::Place;
use super::{Failure, usage};

/// The token of the person for the server at `url`. `may_ask` allows to open a browser.
pub(super) fn oauth(url: &str, may_ask: bool) -> Result<OAuth, Failure> {
    let address = url.to_owned();
    let agent = Loopback::new(move |page| {
        if !may_ask {
            return Err(AuthError::Denied(format!("log in first: andon login {address}")));
        }
        eprintln!("Log in here, if no browser opens by itself:\n  {page}");
        // Whoever has no browser here can follow the link elsewhere.
        if let Err(error) = open_in_browser(page) {
            tracing::debug!(%error, "no browser");
        }
        Ok(())
    });
    let builder = OAuth::builder(url).interactive(agent).store(FileStore::new(tokens_file()?));
    builder.build().map_err(failed)
}

pub(super) async fn login(place: &Place) -> Result<(), Failure> {
    let url = url(place)?;
    oauth(url, true)?.login().await.map_err(failed)?;
    println!("logged in to {url}");
    Ok(())
}

pub(super) async fn logout(place: &Place) -> Result<(), Failure> {
    let url = url(place)?;
    oauth(url, false)?.logout().await.map_err(failed)?;
    println!("forgot the token for {url}");
    Ok(())
}

fn url(place: &Place) -> Result<&str, Failure> {
    match place {
        Place::Url(url) => Ok(url),
        Place::Command(_) => Err(usage("a program needs no login; only servers with a URL do")),
    }
}

/// `ANDON_TOKENS`, or `tokens.json` in the folder for data of programs.
fn tokens_file() -> Result<PathBuf, Failure> {
    let variable = |name: &str| std::env::var_os(name).filter(|value| !value.is_empty()).map(PathBuf::from);
    if let Some(file) = variable("ANDON_TOKENS") {
        return Ok(file);
    }
    let folder = variable("XDG_DATA_HOME")
        .or_else(|| variable("LOCALAPPDATA"))
        .or_else(|| variable("HOME").map(|home| home.join(".local").join("share")));
    let folder = folder.ok_or_else(|| usage("no folder for tokens: set ANDON_TOKENS to a file"))?;
    Ok(folder.join("andon").join("tokens.json"))
}

fn failed(error: AuthError) -> Failure {
    Failure::Login(error.to_string())
}
