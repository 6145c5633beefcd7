//! A client at the shell: `andon tools | call | resources | read | prompts | prompt | complete | listen | ping`, and
//! `login` and `logout`.

mod answer;
mod arguments;
mod connect;
mod login;
pub(crate) mod show;
mod tokens;

use std::collections::{BTreeSet, HashMap};
use std::fmt;
use std::path::PathBuf;
use std::pin::pin;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use andon::client::{Builder, Client, Error, Event, Listen, OpenFailure, Options, Reference};
use andon::serde_json::{Map, Value, json};
use andon::types::error::clip;
use andon::types::raw_object::RawObject;
use andon::types::tools::Tool;
use andon_gateway::MISSING;
use clap::Args;
use similar::get_close_matches;

use show::Screen;

/// What all client commands take.
#[derive(Args)]
pub(crate) struct Peer {
    /// The server's URL, unless a command follows after `--`; then what the command wants to know.
    #[arg(value_name = "URL")]
    words: Vec<String>,
    /// A program that is the server, with its arguments.
    #[arg(last = true, value_name = "COMMAND")]
    command: Vec<String>,
    /// Print results as JSON, for programs.
    #[arg(long)]
    json: bool,
    /// A header of every HTTP request, such as 'Authorization: Bearer TOKEN'; may be repeated.
    #[arg(long = "header", short = 'H', value_name = "NAME: VALUE")]
    headers: Vec<String>,
    /// A variable of the program's environment; may be repeated.
    #[arg(long = "env", short = 'e', value_name = "NAME=VALUE")]
    environment: Vec<String>,
    /// Speak this revision of the protocol and no other, such as 2025-06-18.
    #[arg(long, value_name = "DATE")]
    protocol: Option<String>,
    /// Seconds that a call may take without progress.
    #[arg(long, default_value_t = 60, value_name = "SECONDS")]
    timeout: u64,
    /// A folder that the server may know of; may be repeated.
    #[arg(long = "root", value_name = "DIR")]
    roots: Vec<PathBuf>,
    /// Answers questions of the server without asking: a field of a form; may be repeated.
    #[arg(long = "answer", value_name = "FIELD=VALUE")]
    answers: Vec<String>,
    /// Where tokens of logins are kept.
    #[arg(long, value_enum, default_value_t, value_name = "WHERE")]
    token_store: tokens::Choice,
    /// Where pictures, sounds and other files of results are saved.
    #[arg(long, default_value = ".", value_name = "DIR")]
    out: PathBuf,
}

/// What to do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Deed {
    Tools,
    Call,
    Resources,
    Read,
    Prompts,
    Prompt,
    Complete,
    Listen,
    Ping,
    Login,
    Logout,
}

/// Why a command failed, and with which exit code.
#[derive(Debug)]
pub(crate) enum Failure {
    /// 1: the tool failed, and has said why.
    Tool,
    /// 2: the command line is not understood.
    Usage(String),
    /// 3: the server cannot be reached, or what it says is not the protocol; 4: it answered with an error;
    /// 5: it wants other credentials.
    Client(Error),
    /// 3: the system refused.
    Io(String),
    /// 4: a running server of ours answered with an error.
    Refused(String),
    /// 5: no token.
    Login(String),
    /// 130: Ctrl-C.
    Interrupted,
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Tool => f.write_str("the tool failed"),
            Self::Usage(why) | Self::Io(why) | Self::Refused(why) | Self::Login(why) => f.write_str(why),
            Self::Client(error) => error.fmt(f),
            Self::Interrupted => f.write_str("interrupted"),
        }
    }
}

impl From<Error> for Failure {
    fn from(error: Error) -> Self {
        Self::Client(error)
    }
}

impl Failure {
    fn code(&self) -> u8 {
        match self {
            Self::Tool => 1,
            Self::Usage(_) | Self::Client(Error::Arguments(_) | Error::Target(_)) => 2,
            Self::Client(Error::Protocol(_) | Error::NotOffered(_) | Error::Unanswerable(_)) => 4,
            Self::Client(Error::Open(OpenFailure::NoCommonRevision(_) | OpenFailure::Refused(_))) => 4,
            Self::Client(Error::Open(OpenFailure::Status(401 | 403, _))) => 5,
            Self::Login(_) | Self::Client(Error::Unauthorized(_)) => 5,
            Self::Refused(_) => 4,
            Self::Client(_) | Self::Io(_) => 3,
            Self::Interrupted => 130,
        }
    }
}

/// A client of `url` that sends the token of the person, if there is one; it never opens a browser.
pub(crate) fn with_token(builder: Builder, url: &str) -> Builder {
    let tokens = tokens::Tokens::new(tokens::Choice::Auto);
    match tokens.and_then(|tokens| login::oauth(url, Arc::new(tokens), false)) {
        Ok(oauth) => builder.authorizer(oauth),
        Err(failure) => {
            tracing::warn!(%failure, "no token is used");
            builder
        }
    }
}

/// Runs one command to its end, or until Ctrl-C.
pub(crate) fn run(deed: Deed, peer: Peer) -> ExitCode {
    let runtime = match tokio::runtime::Runtime::new() {
        Ok(runtime) => runtime,
        Err(error) => return fail(&Failure::Io(format!("cannot start: {error}"))),
    };
    let outcome = runtime.block_on(perform(deed, peer));
    // A read of standard input cannot be interrupted; it must not keep the process.
    runtime.shutdown_timeout(Duration::from_millis(500));
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => fail(&failure),
    }
}

/// Says why, and gives the exit code that says so too.
pub(crate) fn fail(failure: &Failure) -> ExitCode {
    // A tool that failed has said so in its own words.
    if !matches!(failure, Failure::Tool) {
        eprintln!("andon: {}", show::harmless(&failure.to_string()));
    }
    ExitCode::from(failure.code())
}

async fn perform(deed: Deed, mut peer: Peer) -> Result<(), Failure> {
    let place = connect::target(&mut peer)?;
    let words = std::mem::take(&mut peer.words);
    let mut interrupted = pin!(tokio::signal::ctrl_c());
    let connecting = async {
        match deed {
            Deed::Login => login::login(&place, peer.token_store).await.map(|()| None),
            Deed::Logout => login::logout(&place, peer.token_store).await.map(|()| None),
            _ => connect::connect(place, &peer).await.map(Some),
        }
    };
    let client = tokio::select! {
        connected = connecting => connected?,
        _ = &mut interrupted => return Err(Failure::Interrupted),
    };
    let Some(client) = client else { return Ok(()) };
    let screen = Screen::new(peer.json, peer.out);
    let outcome = tokio::select! {
        outcome = converse(deed, &client, &screen, words) => outcome,
        // What was begun is dropped, and so cancelled.
        _ = &mut interrupted => Err(Failure::Interrupted),
    };
    let leaving = leave(&client, matches!(outcome, Err(Failure::Interrupted)));
    tokio::select! {
        () = leaving => {}
        _ = tokio::signal::ctrl_c() => {}
    }
    outcome
}

/// Ends the conversation, so that neither a session nor a process is left behind.
async fn leave(client: &Client, is_interrupted: bool) {
    const HEARD: Duration = Duration::from_secs(1);
    const CLOSED: Duration = Duration::from_secs(10);
    if is_interrupted {
        // Once this is answered, the cancellation that went before it has been heard. If it is not, so be it.
        drop(tokio::time::timeout(HEARD, client.ping()).await);
    }
    drop(tokio::time::timeout(CLOSED, client.close()).await);
}

async fn converse(deed: Deed, client: &Client, screen: &Screen, words: Vec<String>) -> Result<(), Failure> {
    let mut words = words.into_iter();
    match deed {
        Deed::Tools => {
            tell_who_is_missing(client, "tools/list").await;
            screen.tools(&client.tools().await?)
        }
        Deed::Call => call(client, screen, words).await,
        Deed::Resources => {
            tell_who_is_missing(client, "resources/list").await;
            screen.resources(&client.resources().await?, &client.templates().await?)
        }
        Deed::Read => {
            let uri = words.next().ok_or_else(|| usage("which resource? give its URI"))?;
            screen.contents(&client.read(&uri).await?)
        }
        Deed::Prompts => {
            tell_who_is_missing(client, "prompts/list").await;
            screen.prompts(&client.prompts().await?)
        }
        Deed::Prompt => {
            let name = words.next().ok_or_else(|| usage("which prompt? see andon prompts"))?;
            let arguments = arguments::parse(&json!({}), words)?;
            screen.prompt(&client.prompt(&name, arguments).await?)
        }
        Deed::Complete => complete(client, screen, words).await,
        Deed::Listen => listen(client, screen, words).await,
        Deed::Ping => screen.ping(client.ping().await?, client),
        Deed::Login | Deed::Logout => unreachable!("done before connecting"),
    }
}

async fn call(client: &Client, screen: &Screen, mut words: impl Iterator<Item = String>) -> Result<(), Failure> {
    let name = words.next().ok_or_else(|| usage("which tool? see andon tools"))?;
    let tools = client.tools().await?;
    let Some(tool) = tools.iter().find(|tool| tool.name == name) else {
        tell_who_is_missing(client, "tools/list").await;
        return Err(usage(no_tool(&name, &tools)));
    };
    let schema = tool.input_schema.to_value().unwrap_or_else(|_| json!({}));
    let arguments = arguments::parse(&schema, words)?;
    arguments::check(&name, &schema, &arguments)?;
    let bar = screen.progress_bar();
    let reports = bar.clone();
    let options = Options::default().on_progress(move |report| reports.report(&report));
    let result = client.call_tool(&name, arguments, options).await;
    bar.clear();
    let result = result?;
    screen.result(&name, &result)?;
    if result.is_error { Err(Failure::Tool) } else { Ok(()) }
}

/// A gateway says in its lists which of its servers they are without.
async fn tell_who_is_missing(client: &Client, list: &str) {
    const TOLD_MAX: usize = 20;
    let Ok(listed) = client.request(list, RawObject::default(), Options::default()).await else { return };
    let Ok(listed) = listed.parse_owned::<Value>() else { return };
    let missing = listed.get("_meta").and_then(|meta| meta.get(MISSING)).and_then(Value::as_array);
    for server in missing.into_iter().flatten().take(TOLD_MAX) {
        let said = |member: &str| server.get(member).and_then(Value::as_str).unwrap_or_default();
        let what = format!("{}, which is {}: {}", said("server"), said("state"), said("why"));
        eprintln!("andon: without the server {}", show::harmless_line(clip(what.trim_end_matches(": "))));
    }
}

/// What to try instead of a name that no tool has: those it is like, with the names of their servers or without.
fn no_tool(name: &str, tools: &[Tool]) -> String {
    const LISTED_MAX: usize = 10;
    const LIKE_MAX: usize = 5;
    const LIKENESS_MIN: f32 = 0.75;
    fn bare(known: &str) -> &str {
        known.split_once("__").map_or(known, |(_, bare)| bare)
    }
    let known: Vec<&str> = tools.iter().map(|tool| tool.name.as_str()).collect();
    let sought: BTreeSet<&str> = known.iter().flat_map(|known| [*known, bare(known)]).collect();
    let sought: Vec<&str> = sought.into_iter().collect();
    let close = get_close_matches(name, &sought, LIKE_MAX, LIKENESS_MIN);
    let is_like = |known: &&str| close.contains(known) || close.contains(&bare(known));
    let like: Vec<&str> = known.iter().copied().filter(is_like).take(LIKE_MAX).collect();
    let instead = match (like.as_slice(), known.len()) {
        ([], 0) => "it has none".to_owned(),
        ([], ..=LISTED_MAX) => format!("there are: {}", known.join(", ")),
        ([], many) => format!("see andon tools for the {many} that there are"),
        (like, _) => format!("did you mean {}?", like.join(", ")),
    };
    format!("there is no tool {name:?}; {instead}")
}

async fn complete(client: &Client, screen: &Screen, mut words: impl Iterator<Item = String>) -> Result<(), Failure> {
    const HOW: &str = "andon complete URL PROMPT|URI-TEMPLATE ARGUMENT VALUE [KNOWN=VALUE...]";
    let (Some(of), Some(argument)) = (words.next(), words.next()) else { return Err(usage(HOW)) };
    let value = words.next().unwrap_or_default();
    let reference = if of.contains("://") || of.contains('{') {
        Reference::Resource { uri: of }
    } else {
        Reference::Prompt { name: of }
    };
    let known: Map<String, Value> = arguments::parse(&json!({}), words)?;
    let known: HashMap<String, String> =
        known.into_iter().map(|(name, value)| (name, value.as_str().unwrap_or_default().to_owned())).collect();
    screen.completion(&client.complete(&reference, (&argument, &value), &known).await?)
}

async fn listen(client: &Client, screen: &Screen, uris: impl Iterator<Item = String>) -> Result<(), Failure> {
    let wanted = uris.fold(Listen::lists(), Listen::uri);
    let mut listening = client.listen(wanted).await?;
    eprintln!("listening; stop with Ctrl-C");
    while let Some(event) = listening.next().await {
        if let Event::Disconnected(loss) = &event {
            eprintln!("andon: {}", show::harmless(&loss.to_string()));
        }
        screen.event(&event)?;
    }
    Ok(())
}

fn usage(why: impl Into<String>) -> Failure {
    Failure::Usage(why.into())
}

#[cfg(test)]
mod tests;
