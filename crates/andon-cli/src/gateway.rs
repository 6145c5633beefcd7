//! `andon serve FILE`, and the commands about it: `andon check`, `andon upstreams`, `andon approve`.

mod reload;

use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use andon::Error;
use andon::http::{Ask, Mounts, Refusal, Resource};
use andon::serde_json::{self, Value, json};
use andon::server::host::Host;
use andon::server::options::HostOptions;
use andon::server::seal::Seal;
use andon::server::serve::serve_until;
use andon::server::transport::Stdio;
use andon_gateway::config::{self, Finding, Mode, Position, Severity};
use andon_gateway::{Clients, Gateway, HeldBack, MakeHost, Options, Status, approve, held_back};
use clap::Args;
use futures_util::future::BoxFuture;

use crate::client::show::{print, print_json};
use crate::client::{Failure, fail, with_token};
use crate::sessions::wire::Place;
use crate::{Serve, asked_to_end, operators, welcome};

/// How long any call may take at an endpoint; each server has a maximum of its own.
const CALL_TIMEOUT_MAX: Duration = Duration::from_secs(24 * 60 * 60);
/// How long a person may take to answer a question.
const ASK_TIMEOUT: Duration = Duration::from_secs(10 * 60);

/// `andon check FILE`.
#[derive(Args)]
pub(crate) struct Check {
    /// The file.
    #[arg(value_name = "FILE")]
    file: PathBuf,
    /// A file with settings of Andon's own: JSON, or TOML if its name ends in `.toml`.
    #[arg(long, value_name = "FILE")]
    settings: Option<PathBuf>,
}

/// `andon upstreams`.
#[derive(Args)]
pub(crate) struct Upstreams {
    /// The directory of `andon serve --data DIR`.
    #[arg(long, value_name = "DIR")]
    data: Option<PathBuf>,
    /// The loopback address of `andon serve --admin HOST:PORT`. The token is in DIR, or in ANDON_ADMIN_TOKEN.
    #[arg(long, value_name = "HOST:PORT")]
    admin: Option<String>,
    /// Print JSON, for programs.
    #[arg(long)]
    json: bool,
}

/// `andon approve`.
#[derive(Args)]
pub(crate) struct Approve {
    /// Of which server; all without it.
    #[arg(value_name = "SERVER")]
    server: Option<String>,
    /// Which tool; all of the server without it.
    #[arg(value_name = "TOOL")]
    tool: Option<String>,
    /// The directory of `andon serve --data`.
    #[arg(long, value_name = "DIR")]
    data: PathBuf,
    /// Only show what has changed, and trust nothing.
    #[arg(long)]
    show: bool,
}

impl Check {
    pub(crate) fn run(self) -> ExitCode {
        let checked = config::read(&self.file, self.settings.as_deref());
        checked.findings.iter().for_each(|finding| eprintln!("{finding}"));
        let Some(config) = checked.config else {
            let errors = errors(&checked.findings).count();
            eprintln!("andon: {errors} error{} in the configuration", if errors == 1 { "" } else { "s" });
            return ExitCode::FAILURE;
        };
        let names: Vec<&str> = config.servers.iter().map(|server| server.name.as_str()).collect();
        let file = self.file.display();
        match names.as_slice() {
            [] => println!("{file}: no servers"),
            [name] => println!("{file}: 1 server: {name}"),
            names => println!("{file}: {} servers: {}", names.len(), names.join(", ")),
        }
        ExitCode::SUCCESS
    }
}

impl Upstreams {
    pub(crate) fn run(self) -> ExitCode {
        match self.perform() {
            Ok(()) => ExitCode::SUCCESS,
            Err(failure) => fail(&failure),
        }
    }

    fn perform(&self) -> Result<(), Failure> {
        let place = Place::find(self.data.as_deref(), self.admin.as_deref())?;
        let answer = place.ask("GET", "/v1/upstreams")?;
        if self.json {
            return print_json(&answer.to_string());
        }
        let statuses = serde_json::from_value(answer)
            .map_err(|error| Failure::Io(format!("the server's answer is of another version: {error}")))?;
        print(table(&statuses).trim_end())
    }
}

/// What operators see of the servers.
struct Shown(Arc<Gateway>);

impl Resource for Shown {
    fn answer(&self, ask: Ask) -> BoxFuture<'_, Result<Value, Refusal>> {
        let answer = match (ask.method().as_str(), ask.item()) {
            ("GET", None) => Ok(json!(self.0.status())),
            ("GET", Some(name)) => {
                let found = self.0.status().into_iter().find(|status| status.name == name);
                found.map(|status| json!(status)).ok_or_else(|| Refusal::NotFound("there is no such server".to_owned()))
            }
            _ => Err(Refusal::NotAllowed("GET")),
        };
        Box::pin(std::future::ready(answer))
    }
}

impl Approve {
    pub(crate) fn run(self) -> ExitCode {
        match self.perform() {
            Ok(code) => code,
            Err(error) => {
                eprintln!("andon: the definitions in {}: {}", self.data.display(), harmless(&error.to_string()));
                ExitCode::FAILURE
            }
        }
    }

    fn perform(&self) -> std::io::Result<ExitCode> {
        let act = if self.show { held_back } else { approve };
        let held = act(&self.data, self.server.as_deref(), self.tool.as_deref())?;
        if held.is_empty() {
            return Ok(self.say_that_none_is());
        }
        for HeldBack { server, tool, diff, is_approved } in held {
            let (server, tool) = (harmless(&server), harmless(&tool));
            match is_approved {
                false => println!("{server}: {tool}\n{diff}"),
                true => println!("{server}: {tool}: approved already, not heeded yet"),
            }
        }
        if !self.show {
            println!("a running andon serve heeds it on SIGHUP, or when its file changes");
        }
        Ok(ExitCode::SUCCESS)
    }

    fn say_that_none_is(&self) -> ExitCode {
        let others = held_back(&self.data, None, None).unwrap_or_default();
        let others = others.iter().filter(|held| !held.is_approved);
        let names: Vec<String> = others.map(|held| format!("{} {}", held.server, held.tool)).collect();
        if names.is_empty() {
            println!("nothing is held back");
            return ExitCode::SUCCESS;
        }
        eprintln!("andon: nothing of that name is held back; there are: {}", harmless(&names.join(", ")));
        ExitCode::FAILURE
    }
}

/// Serves the servers that `file` names.
pub(crate) async fn serve(file: PathBuf, serve: Serve) -> andon::Result {
    let settings = serve.settings.clone();
    let checked = config::read(&file, settings.as_deref());
    tell(&checked.findings);
    let is_whole = checked.config.is_some();
    // Whoever starts it wants the servers that can be had. A reload changes all that was meant, or nothing.
    let Some(config) = checked.sound.filter(|sound| is_whole || !sound.servers.is_empty()) else {
        return Err(Error::misuse(format!("{} is not used", file.display())));
    };
    if !is_whole {
        tracing::error!(file = %file.display(), "servers about which there is an error are left out");
    }
    if let Some(folder) = &serve.data {
        std::fs::create_dir_all(folder).map_err(|error| Error::io(format!("{}", folder.display()), error))?;
    }
    // Before anything is started, so that a port that is taken leaves nothing behind.
    let http = if serve.stdio { None } else { Some(serve.bind()?) };
    let admin = match serve.stdio {
        true => None,
        false => Some(operators::admin(serve.data.as_deref(), serve.admin.as_deref())?),
    };
    let (clients, mode) = if serve.stdio { (Clients::One, Mode::Session) } else { (Clients::Many, Mode::Shared) };
    let host = maker(&serve, serve.keys()?.map(|keys| Seal::new(&keys)));
    let options = Options { clients, mode, data: serve.data.clone(), host, prepare: Box::new(with_token) };
    #[cfg(unix)]
    tokio::spawn(crate::guard::keep(serve.logs.clone()));
    let gateway = Gateway::start(&config, options)?;
    tokio::spawn(reload::watch(gateway.clone(), file, settings));
    let stopping = gateway.clone();
    let stop = async move {
        asked_to_end().await;
        stopping.drain().await;
    };
    let outcome = match http.zip(admin) {
        None => serve_until(gateway.host(), Stdio, stop).await,
        Some((http, admin)) => {
            welcome::print_admin(&admin.addresses(), serve.data.as_deref());
            welcome::print(&http.url());
            let mounts: Arc<dyn Mounts> = gateway.clone();
            let http = http.with_options(|options| options.mounts = Some(mounts));
            let admin = admin.with("upstreams", Shown(gateway.clone()));
            serve_until(gateway.host(), serve.behind(http, admin), stop).await
        }
    };
    gateway.stop().await;
    outcome
}

/// Makes hosts with their sessions where the command line says. Over stdio there is one session, the process's own.
fn maker(serve: &Serve, seal: Option<Seal>) -> Box<MakeHost> {
    let (data, bounds) = (serve.data.clone().filter(|_| !serve.stdio), serve.bounds);
    Box::new(move |service, changes, server| {
        let mut options = HostOptions::default();
        options.conversation.call_timeout_max = CALL_TIMEOUT_MAX;
        options.conversation.ask_timeout = ASK_TIMEOUT;
        let folder = data.as_ref().map(|folder| match server {
            None => folder.clone(),
            Some(name) => folder.join("servers").join(name),
        });
        Host::open(
            service,
            changes,
            options,
            bounds.sessions(folder),
            seal.as_ref().map(|seal| seal.scoped(server.unwrap_or_default())),
        )
    })
}

fn errors(findings: &[Finding]) -> impl Iterator<Item = &Finding> {
    findings.iter().filter(|finding| finding.severity == Severity::Error)
}

/// Logs what there is to say about the files.
fn tell(findings: &[Finding]) {
    for finding in findings {
        let place = Some(finding.at).filter(|at| *at != Position::NONE);
        let (file, line, column) = (finding.file.display(), place.map(|at| at.line), place.map(|at| at.column));
        let why = &finding.message;
        match finding.severity {
            Severity::Warning => tracing::warn!(%file, line, column, why, "about the configuration"),
            Severity::Error => tracing::error!(%file, line, column, why, "the configuration is wrong"),
        }
    }
}

fn table(statuses: &Vec<Status>) -> String {
    let heads = ["SERVER", "STATE", "BREAKER", "TOOLS", "CALLS", "IN FLIGHT", "FAILED", "RESTARTS", "LATENCY"];
    let mut rows = vec![heads.map(str::to_owned)];
    for status in statuses {
        rows.push([
            status.name.clone(),
            format!("{} {} s", status.state, status.state_s),
            status.breaker.to_string(),
            status.tools.to_string(),
            status.calls.to_string(),
            status.in_flight.to_string(),
            status.failures.to_string(),
            status.restarts.to_string(),
            if status.latency_ms > 0.0 { format!("{:.1} ms", status.latency_ms) } else { "-".to_owned() },
        ]);
    }
    let width = |column: usize| rows.iter().map(|row| row[column].chars().count()).max().unwrap_or_default();
    let widths: Vec<usize> = (0..heads.len()).map(width).collect();
    let mut text = String::new();
    for row in &rows {
        let cells = row.iter().zip(&widths).map(|(cell, width)| format!("{cell:width$}"));
        text.push_str(cells.collect::<Vec<_>>().join("  ").trim_end());
        text.push('\n');
    }
    for status in statuses {
        if let Some((why, ago_s)) = status.last_error.as_ref().zip(status.last_error_s) {
            text.push_str(&format!("\n{}, {ago_s} s ago: {}\n", status.name, harmless(why)));
        }
        for tool in &status.held {
            let (name, tool) = (&status.name, harmless(tool));
            let how = format!("trust it with: andon approve {name} {tool} --data DIR");
            text.push_str(&format!("\n{name}: the tool {tool} has changed and is held back: {how}\n"));
        }
    }
    text
}

/// What a server wrote, without what a terminal would obey or would not show.
fn harmless(text: &str) -> String {
    // What has no picture is spelt out as a code: so are the marks that turn the direction of writing round.
    let is_shown = |c: char| !c.escape_debug().to_string().starts_with("\\u");
    text.chars().map(|c| if c.is_control() || !is_shown(c) { ' ' } else { c }).collect()
}
