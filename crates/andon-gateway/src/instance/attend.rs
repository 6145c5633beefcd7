//! The task that keeps one conversation alive: opens it, reads what the server has, heeds what it tells, opens it again.

use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use andon_client::{Client, Error, Event, Events, Listen, Restart, Target};
use andon_types::meta::Level;
use andon_types::revision::Revision;
use tokio::time::Instant;

use super::{Instance, Key, Phase, Ready, traffic};
use crate::catalogue::Catalogue;
use crate::config::Place;
use crate::restarts::{Next, Restarts};

/// How long changes of lists are gathered before they are read.
const SETTLE: Duration = Duration::from_millis(100);
/// How long an answer to a ping may take, or as long as there is between two.
const PING_TIMEOUT: Duration = Duration::from_secs(10);
/// Pings in a row without an answer that end a conversation.
const PINGS_MISSED_MAX: u32 = 3;
/// How often it is looked whether a conversation is idle.
const LOOK: Duration = Duration::from_secs(5);

/// Keeps the conversation until it is to end.
pub(super) async fn supervise(instance: Arc<Instance>) {
    let upstream = instance.upstream.clone();
    let mut restarts = Restarts::new(upstream.settings.restarts);
    loop {
        instance.set(Phase::Starting);
        let attempt = one(&instance);
        let ended = tokio::select! {
            ended = attempt => ended,
            // An attempt to open is given up; what was opened is closed by `one`.
            () = ended_while_starting(&instance) => break,
        };
        if instance.is_ending() {
            break;
        }
        let (ran, why) = ended;
        let why: Arc<str> = why.into();
        upstream.ended(&why);
        let (wait, phase) = match restarts.ended(Instant::now(), ran, fastrand::f64()) {
            Next::Start(wait) => {
                tracing::warn!(server = &*upstream.name, why = &*why, ?wait, "a server is gone; it is started again");
                (wait, Phase::Waiting(why))
            }
            Next::Park(wait) => {
                tracing::error!(
                    server = &*upstream.name,
                    why = &*why,
                    ?wait,
                    "a server ends again and again: it rests"
                );
                (wait, Phase::Parked(why))
            }
        };
        instance.set(phase);
        tokio::select! {
            () = tokio::time::sleep(wait) => {}
            () = instance.is_to_end() => break,
        }
    }
    instance.set(Phase::Ended);
    upstream.forget(&instance);
}

/// Returns when the conversation is to end and is not open yet.
async fn ended_while_starting(instance: &Instance) {
    instance.is_to_end().await;
    if !matches!(*instance.phase.borrow(), Phase::Starting) {
        std::future::pending::<()>().await;
    }
}

/// One conversation from its opening to its end: how long it was open, and why it ended.
async fn one(instance: &Arc<Instance>) -> (Option<Duration>, String) {
    let begun_at = Instant::now();
    let opening = tokio::time::timeout(instance.upstream.settings.start_timeout, open(instance));
    let (client, catalogue, events) = match opening.await {
        Ok(Ok(opened)) => opened,
        Ok(Err(error)) => return (None, error.to_string()),
        Err(_) => return (None, "it did not start in time".to_owned()),
    };
    tracing::info!(
        server = &*instance.upstream.name,
        revision = client.revision().map(Revision::as_str),
        tools = catalogue.tools.len(),
        took_ms = begun_at.elapsed().as_millis(),
        "a server is there"
    );
    let opened_at = Instant::now();
    let catalogue = Arc::new(catalogue);
    instance.set(Phase::Ready(Ready { client: client.clone(), catalogue: catalogue.clone() }));
    instance.upstream.listed(&catalogue, Stale::default());
    instance.renew_watches(&client).await;
    let why = attend(instance, &client, (catalogue, events)).await;
    // Before its process is ended, so that no call begins on its way out.
    if !instance.is_ending() {
        instance.set(Phase::Waiting(why.as_str().into()));
    }
    client.close().await;
    (Some(opened_at.elapsed()), why)
}

async fn open(instance: &Arc<Instance>) -> Result<(Client, Catalogue, Events), Error> {
    let upstream = &instance.upstream;
    let settings = &upstream.settings;
    let mut builder = match &upstream.place {
        Place::Child { program, args, env, folder } => {
            let mut command = andon_client::Command::new(program).args(args);
            for (name, value) in env {
                command = command.env(name, value);
            }
            if let Some(folder) = folder {
                command = command.folder(folder);
            }
            if let Some(bytes) = settings.memory_bytes_max {
                command = command.memory_bytes_max(bytes);
            }
            if let Some(files) = settings.open_files_max {
                command = command.open_files_max(files);
            }
            if let Some(processes) = settings.processes_max {
                command = command.processes_max(processes);
            }
            Client::builder(Target::from(command))
        }
        Place::Remote { url, headers } => {
            let mut builder = Client::builder(url.as_str());
            for (name, value) in headers {
                builder = builder.header(name, value);
            }
            let has_token = headers.keys().any(|name| name.eq_ignore_ascii_case("authorization"));
            if has_token { builder } else { upstream.prepare(builder, url) }
        }
    };
    if let Some(revision) = settings.protocol {
        builder = builder.protocol(revision);
    }
    let (me, logs) = (Arc::downgrade(instance), Arc::downgrade(instance));
    let client = builder
        .info("andon", env!("CARGO_PKG_VERSION"))
        .restart(Restart::Never)
        .open_timeout(settings.start_timeout)
        .timeout(settings.timeout)
        .timeout_max(settings.timeout_max)
        .without_cache()
        .on_question(instance.capabilities.clone(), move |question| traffic::answer(me.clone(), question))
        .on_log(move |level, logger, data| {
            if let Some(instance) = logs.upgrade() {
                instance.log(level, logger.as_deref(), &data);
            }
        })
        .connect()
        .await?;
    // From here on nothing that it tells is missed.
    let events = client.events();
    let catalogue = Catalogue::load(&client, &upstream.name).await?;
    let logs = catalogue.capabilities.logging.is_some();
    let per_request = client.revision().is_some_and(|revision| revision.rules().log_level_per_request);
    if logs && !per_request {
        // Each client's session filters by itself.
        if let Err(error) = client.set_log_level(Level::Debug).await {
            tracing::debug!(server = &*upstream.name, %error, "a server does not take a log level");
        }
    }
    Ok((client, catalogue, events))
}

/// Which of its lists a server says to have changed.
#[derive(Default, Clone, Copy)]
pub(crate) struct Stale {
    pub(crate) tools: bool,
    pub(crate) prompts: bool,
    pub(crate) resources: bool,
}

impl Stale {
    const ALL: Self = Self { tools: true, prompts: true, resources: true };

    fn is_any(self) -> bool {
        self.tools || self.prompts || self.resources
    }
}

/// Heeds what the server tells, until it is gone or the conversation is to end; then says why.
async fn attend(
    instance: &Arc<Instance>,
    client: &Client,
    (mut catalogue, mut events): (Arc<Catalogue>, Events),
) -> String {
    let settings = &instance.upstream.settings;
    let capabilities = &catalogue.capabilities;
    let mut wanted = Listen::default();
    if capabilities.tools.is_some_and(|listed| listed.list_changed) {
        wanted = wanted.tools();
    }
    if capabilities.prompts.is_some_and(|listed| listed.list_changed) {
        wanted = wanted.prompts();
    }
    if capabilities.resources.is_some_and(|listed| listed.list_changed) {
        wanted = wanted.resources();
    }
    let listening = match wanted == Listen::default() {
        true => None,
        false => client
            .listen(wanted)
            .await
            .inspect_err(|error| {
                tracing::warn!(server = &*instance.upstream.name, %error, "a server does not tell of changes");
            })
            .ok(),
    };
    let mut stale = Stale::default();
    let mut settled = pin!(tokio::time::sleep(Duration::ZERO));
    let mut pings = tokio::time::interval_at(Instant::now() + settings.ping_interval, settings.ping_interval);
    let mut looks = tokio::time::interval(LOOK);
    let mut missed = 0;
    instance.set_silent(false);
    let why = loop {
        tokio::select! {
            event = events.next() => {
                let was_stale = stale.is_any();
                match event {
                    None => break "the connection is closed".to_owned(),
                    Some(Event::Disconnected(loss)) => break loss.to_string(),
                    Some(event) => heed(instance, event, &mut stale),
                }
                if stale.is_any() && !was_stale {
                    settled.as_mut().reset(Instant::now() + SETTLE);
                }
            }
            () = settled.as_mut(), if stale.is_any() => {
                match read_again(instance, client, &catalogue, std::mem::take(&mut stale)).await {
                    Ok(read) => catalogue = read,
                    Err(error) => tracing::warn!(server = &*instance.upstream.name, %error, "lists cannot be read"),
                }
            }
            _ = pings.tick() => {
                // A server that works may have no time to answer; one whose calls run out of theirs may not be there at all.
                // A condition of this branch would be looked at before the tick, and not again.
                if instance.in_flight() > 0 && !instance.is_silent() {
                    continue;
                }
                let answers = answers(instance, client).await;
                instance.set_silent(!answers);
                missed = if answers { 0 } else { missed + 1 };
                if missed >= PINGS_MISSED_MAX {
                    break format!("it did not answer {missed} pings");
                }
            }
            _ = looks.tick(), if instance.key != Key::Shared => {
                if instance.idle() >= settings.idle_timeout {
                    tracing::info!(server = &*instance.upstream.name, "a conversation is idle, and ended");
                    instance.end_soon();
                }
            }
            () = instance.is_to_end() => break "it was ended".to_owned(),
        }
    };
    drop(listening);
    why
}

/// Whether the server answers in time; while it is to end, that does not matter any more.
async fn answers(instance: &Instance, client: &Client) -> bool {
    let time = PING_TIMEOUT.min(instance.upstream.settings.ping_interval);
    tokio::select! {
        answer = tokio::time::timeout(time, client.ping()) => {
            matches!(answer, Ok(Ok(_) | Err(Error::Protocol(_))))
        }
        () = instance.is_to_end() => true,
    }
}

fn heed(instance: &Instance, event: Event, stale: &mut Stale) {
    match event {
        Event::ToolsChanged => stale.tools = true,
        Event::PromptsChanged => stale.prompts = true,
        Event::ResourcesChanged => stale.resources = true,
        Event::Reopened => *stale = Stale::ALL,
        Event::ResourceUpdated(uri) => instance.upstream.updated(&instance.watched_as(&uri)),
        Event::ElicitationComplete(id) => instance.elicitation_complete(&id),
        Event::Stderr(line) => tracing::debug!(server = &*instance.upstream.name, line, "standard error"),
        _ => {}
    }
}

async fn read_again(
    instance: &Arc<Instance>,
    client: &Client,
    known: &Catalogue,
    stale: Stale,
) -> Result<Arc<Catalogue>, Error> {
    let (mut catalogue, name) = (known.clone(), &*instance.upstream.name);
    if stale.tools {
        catalogue.load_tools(client, name).await?;
    }
    if stale.prompts {
        catalogue.load_prompts(client, name).await?;
    }
    if stale.resources {
        catalogue.load_resources(client, name).await?;
    }
    let catalogue = Arc::new(catalogue);
    instance.set(Phase::Ready(Ready { client: client.clone(), catalogue: catalogue.clone() }));
    instance.upstream.listed(&catalogue, stale);
    Ok(catalogue)
}
