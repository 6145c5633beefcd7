//! A gateway over real processes, and clients of any revision, in one process.
#![allow(dead_code, reason = "each test uses a part of it")]

use std::path::PathBuf;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use andon_client::{Client, Error, Event, Events, Filled, Options as CallOptions};
use andon_gateway::config::{self, Config, Mode};
use andon_gateway::{Clients, Gateway, Options, Status};
use andon_server::host::Host;
use andon_server::options::HostOptions;
use andon_server::principal::Principal;
use andon_server::seal::Seal;
use andon_server::sessions::Sessions;
use andon_types::revision::Revision;
use serde_json::{Map, Value, json};
use tempfile::TempDir;

/// How long anything may take that is waited for.
pub(crate) const SOON: Duration = Duration::from_secs(20);

/// The example of this package with this name, which the tests are built with.
pub(crate) fn example(name: &str) -> String {
    let mut path = std::env::current_exe().unwrap();
    path.pop();
    path.set_file_name("examples");
    path.join(name).display().to_string()
}

/// A server of the file: `unruly` with these words, and Andon's settings.
pub(crate) fn unruly(words: &[&str], andon: Value) -> Value {
    json!({ "command": example("unruly"), "args": words, "andon": andon })
}

pub(crate) struct Bench {
    pub(crate) gateway: Arc<Gateway>,
    pub(crate) folder: TempDir,
}

impl Bench {
    pub(crate) fn new(servers: Value) -> Self {
        Self::with(servers, false)
    }

    /// With a folder for data, or without.
    pub(crate) fn with(servers: Value, has_data: bool) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let data = has_data.then(|| folder.path().to_owned());
        let config = configure(folder.path().join("mcp.json"), servers);
        Self { gateway: start(&config, data), folder }
    }

    pub(crate) fn configure(&self, servers: Value) -> Config {
        configure(self.folder.path().join("mcp.json"), servers)
    }

    pub(crate) fn status(&self, name: &str) -> Status {
        self.gateway.status().into_iter().find(|status| status.name == name).unwrap()
    }

    pub(crate) async fn client(&self, revision: &str) -> Client {
        self.person(revision, "Ada").await.0
    }

    /// A client of this subject.
    pub(crate) async fn of(&self, subject: &str, revision: &str) -> Client {
        let principal = Principal::verified(subject, []);
        let builder = Client::builder((self.gateway.host(), principal)).without_cache();
        builder.protocol(Revision::parse(revision).unwrap()).connect().await.unwrap()
    }

    /// A client whose person says this name to each form, and what was asked.
    pub(crate) async fn person(&self, revision: &str, name: &str) -> (Client, Arc<Mutex<Vec<String>>>) {
        person(self.gateway.host(), revision, name).await
    }
}

pub(crate) fn start(config: &Config, data: Option<PathBuf>) -> Arc<Gateway> {
    try_start(config, data).unwrap()
}

pub(crate) fn try_start(config: &Config, data: Option<PathBuf>) -> Result<Arc<Gateway>, andon_server::error::Error> {
    start_sealed(config, data, None)
}

/// With these keys for what clients carry.
pub(crate) fn start_sealed(
    config: &Config,
    data: Option<PathBuf>,
    seal: Option<Seal>,
) -> Result<Arc<Gateway>, andon_server::error::Error> {
    let options = Options {
        clients: Clients::Many,
        mode: Mode::Shared,
        data,
        host: Box::new(move |service, changes, _| {
            Host::open(service, changes, HostOptions::default(), Sessions::memory(), seal.clone())
        }),
        prepare: Box::new(|builder, _| builder),
    };
    Gateway::start(config, options)
}

pub(crate) fn configure(file: PathBuf, servers: Value) -> Config {
    std::fs::write(&file, json!({ "mcpServers": servers }).to_string()).unwrap();
    let checked = config::read(&file, None);
    let errors = checked.findings.iter().filter(|finding| finding.severity == config::Severity::Error);
    assert_eq!(errors.count(), 0);
    checked.config.unwrap()
}

pub(crate) async fn person(host: Arc<Host>, revision: &str, name: &str) -> (Client, Arc<Mutex<Vec<String>>>) {
    let asked: Arc<Mutex<Vec<String>>> = Arc::default();
    let (heard, name) = (asked.clone(), name.to_owned());
    let client = Client::builder((host, Principal::anonymous()))
        .protocol(Revision::parse(revision).unwrap())
        .without_cache()
        .on_form(move |form| {
            heard.lock().unwrap().push(form.message);
            let filled = Filled::Accept(Map::from_iter([("name".to_owned(), name.clone().into())]));
            async { filled }
        })
        .connect()
        .await
        .unwrap();
    (client, asked)
}

/// The text of a tool's result.
pub(crate) async fn call(client: &Client, tool: &str, arguments: Value) -> Result<String, Error> {
    let arguments = arguments.as_object().cloned().unwrap_or_default();
    let result = client.call_tool(tool, arguments, CallOptions::default().timeout(SOON)).await?;
    Ok(result.content.iter().filter_map(|content| content.as_text()).collect())
}

pub(crate) async fn tools(client: &Client) -> Vec<String> {
    client.tools().await.unwrap().into_iter().map(|tool| tool.name).collect()
}

/// Waits for an event like this.
pub(crate) async fn event(events: &mut Events, is_it: impl Fn(&Event) -> bool) {
    let waiting = async {
        while let Some(event) = events.next().await {
            if is_it(&event) {
                return;
            }
        }
        panic!("the client is gone");
    };
    tokio::time::timeout(SOON, waiting).await.expect("it comes soon");
}

/// Asks again and again until something is so.
pub(crate) async fn until<F: Future<Output = bool>>(is_so: impl Fn() -> F) {
    let trying = async {
        let mut turns = tokio::time::interval(Duration::from_millis(20));
        while !is_so().await {
            turns.tick().await;
        }
    };
    tokio::time::timeout(SOON, trying).await.expect("it is so soon");
}

/// Whether a process with this number is there, and is no zombie.
pub(crate) fn is_alive(pid: &str) -> bool {
    std::fs::read_to_string(format!("/proc/{pid}/stat")).is_ok_and(|stat| !stat.contains(") Z "))
}

/// The numbers of the processes that were started with this word among others.
pub(crate) fn processes(word: &str) -> Vec<String> {
    let has_it = |pid: &String| {
        let words = std::fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
        words.split(|byte| *byte == 0).any(|known| known == word.as_bytes())
    };
    let known = std::fs::read_dir("/proc").unwrap().filter_map(|entry| entry.ok()?.file_name().into_string().ok());
    known
        .filter(|name| name.bytes().all(|byte| byte.is_ascii_digit()))
        .filter(has_it)
        .filter(|pid| is_alive(pid))
        .collect()
}

/// Stops a process as a debugger does: it is there, and does nothing.
pub(crate) fn stop(pid: &str) {
    assert!(std::process::Command::new("kill").args(["-STOP", pid]).status().unwrap().success());
}

/// Lets a process go on that was stopped.
pub(crate) fn resume(pid: &str) {
    assert!(std::process::Command::new("kill").args(["-CONT", pid]).status().unwrap().success());
}

/// A client of 2026-07-28 whose person never says anything.
pub(crate) async fn silent(host: Arc<Host>, principal: Principal) -> Client {
    let builder = Client::builder((host, principal)).protocol(Revision::LATEST).without_cache();
    builder.on_form(|_| std::future::pending()).connect().await.unwrap()
}
