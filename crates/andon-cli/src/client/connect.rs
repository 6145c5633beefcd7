//! From words to a connection.

use std::io::IsTerminal as _;
use std::sync::Arc;
use std::time::Duration;

use andon::client::{Client, Command, Target};
use andon::types::client::Root;
use andon::types::revision::Revision;

use super::tokens::Tokens;
use super::{Failure, Peer, answer, login, usage};

/// How long a call with progress may take in all, unless one without may take longer.
const TIMEOUT_MAX: Duration = Duration::from_secs(15 * 60);

/// What the words name.
pub(super) enum Place {
    Url(String),
    Command(Command),
}

/// The server: the first word, or the command after `--`.
pub(super) fn target(peer: &mut Peer) -> Result<Place, Failure> {
    let mut command = std::mem::take(&mut peer.command).into_iter();
    if let Some(program) = command.next() {
        if !peer.headers.is_empty() {
            return Err(usage("a program gets no headers: --header goes with a URL"));
        }
        let mut child = Command::new(program).args(command);
        for pair in &peer.environment {
            let Some((name, value)) = pair.split_once('=') else {
                return Err(usage(format!("{pair:?} is no variable: write NAME=VALUE")));
            };
            child = child.env(name, value);
        }
        return Ok(Place::Command(child));
    }
    if peer.words.is_empty() {
        return Err(usage("which server? give its URL, or `-- COMMAND ARGUMENTS`"));
    }
    if !peer.environment.is_empty() {
        return Err(usage("a URL has no environment: --env goes with a program after `--`"));
    }
    let url = peer.words.remove(0);
    if !url.starts_with("http://") && !url.starts_with("https://") {
        return Err(usage(format!("{url:?} is no URL; a program stands last, after `--`")));
    }
    Ok(Place::Url(url))
}

/// Connects as `peer` says.
pub(super) async fn connect(place: Place, peer: &Peer) -> Result<Client, Failure> {
    let has_token = peer.headers.iter().any(|header| header.to_ascii_lowercase().starts_with("authorization:"));
    let mut builder = match place {
        Place::Url(url) if has_token => Client::builder(url),
        Place::Url(url) => {
            let tokens = Arc::new(Tokens::new(peer.token_store)?);
            let oauth = login::oauth(&url, tokens, std::io::stderr().is_terminal())?;
            Client::builder(url).authorizer(oauth)
        }
        Place::Command(command) => Client::builder(Target::from(command)),
    };
    let timeout = Duration::from_secs(peer.timeout);
    builder = builder.info("andon", env!("CARGO_PKG_VERSION")).timeout(timeout);
    builder = builder.timeout_max(timeout.max(TIMEOUT_MAX));
    for header in &peer.headers {
        let Some((name, value)) = header.split_once(':') else {
            return Err(usage(format!("{header:?} is no header: write 'Name: value'")));
        };
        builder = builder.header(name.trim(), value.trim());
    }
    if let Some(date) = &peer.protocol {
        let known = Revision::ALL.map(Revision::as_str).join(", ");
        let revision =
            Revision::parse(date).ok_or_else(|| usage(format!("{date:?} is no revision; there are {known}")))?;
        builder = builder.protocol(revision);
    }
    if !peer.roots.is_empty() {
        builder = builder.roots(peer.roots.iter().map(|folder| root(folder)).collect::<Result<Vec<_>, _>>()?);
    }
    Ok(answer::add(builder, &peer.answers)?.connect().await?)
}

fn root(folder: &std::path::Path) -> Result<Root, Failure> {
    let whole = folder.canonicalize().map_err(|error| usage(format!("{}: {error}", folder.display())))?;
    let mut uri = String::from("file://");
    for byte in whole.to_string_lossy().bytes() {
        match byte {
            b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' | b'/' => uri.push(char::from(byte)),
            other => uri.push_str(&format!("%{other:02X}")),
        }
    }
    let name = whole.file_name().map(|name| name.to_string_lossy().into_owned());
    Ok(Root { uri, name })
}
