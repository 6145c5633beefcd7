//! The task that keeps one conversation alive: opens it, reads what the server has, heeds what it tells, opens it again.
//!
//! All that waits for the server does so beside the rest, and gives way to the end of the conversation: a server that
//! answers some requests and not others holds up nothing but what those are for.

use std::collections::{BTreeMap, VecDeque};
use std::convert::Infallible;
use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use andon_client::{Client, Error, Event, Events, Listen, Listening, Loss, Restart, Target};
use andon_types::error::clip;
use andon_types::meta::Level;
use andon_types::revision::{Era, Revision};
use tokio::sync::{Notify, watch};
use tokio::time::Instant;
use tracing::Instrument as _;

use super::{Instance, Key, Phase, Ready, questions};
use crate::catalogue::{Catalogue, Lists, Server};
use crate::config::Place;
use crate::flight::{PARKED_MAX, lock};
use crate::pins::Vetted;
use crate::restarts::{Next, Restarts};

/// How long changes of lists are gathered before they are read.
const SETTLE: Duration = Duration::from_millis(100);
/// The same of a server that says again and again that lists changed which did not; it doubles until then.
const SETTLE_MAX: Duration = Duration::from_secs(2);
/// The same of a server that does not answer.
const RETRY_MAX: Duration = Duration::from_secs(30);
/// When a list that a server cannot give is asked for again; it doubles until the other.
const UNREAD_WAIT: Duration = Duration::from_millis(250);
const UNREAD_WAIT_MAX: Duration = Duration::from_secs(600);
/// How long an answer to a ping may take, or as long as there is between two.
const PING_TIMEOUT: Duration = Duration::from_secs(10);
/// Pings in a row without an answer that end a conversation.
const PINGS_MISSED_MAX: u32 = 3;
/// How often it is looked whether a conversation is idle.
const LOOK: Duration = Duration::from_secs(5);

/// Questions of one server at once, to all clients: more than one principal has calls that can ask.
const QUESTIONS_MAX: usize = 2 * PARKED_MAX;

/// What stands between why a server takes no credentials and how to give it some.
pub(super) const LOG_IN: &str = ": log in first: ";

/// What stands between why a conversation ended and what the server wrote to its standard error last.
pub(super) const LAST_WORDS: &str = "; its last words: ";
/// Lines of them.
const LAST_WORDS_MAX: usize = 4;

/// What the server's process wrote to its standard error last.
type LastWords = Arc<Mutex<VecDeque<String>>>;

/// Why a conversation is over that was ended.
const ENDED: &str = "it was ended";

/// Keeps the conversation until it is to end.
pub(super) async fn supervise(instance: Arc<Instance>) {
    tokio::select! {
        () = keep_up(&instance) => {}
        never = end_when_idle(&instance) => match never {},
    }
    instance.set(Phase::Ended);
    instance.upstream.forget(&instance);
}

/// Opens the conversation again and again, until it is to end.
async fn keep_up(instance: &Arc<Instance>) {
    let upstream = &instance.upstream;
    let mut restarts = Restarts::new(upstream.intensity());
    let mut is_again = false;
    loop {
        instance.set(Phase::Starting);
        let last_words = LastWords::default();
        let (ran, why) = one(instance, is_again, &last_words).await;
        is_again = true;
        instance.has_failed.store(ran.is_none(), Ordering::SeqCst);
        if instance.is_ending() {
            return;
        }
        let why: Arc<str> = with_last_words(why, &last_words).into();
        upstream.ended(&why);
        let (wait, phase) = match restarts.ended(Instant::now(), ran, fastrand::f64()) {
            Next::Start(wait) => {
                let what = match ran {
                    Some(_) => "a server is gone; it is started again",
                    None => "a server did not start; it is tried again",
                };
                tracing::warn!(server = &*upstream.name, why = &*why, wait_ms = millis(wait), "{what}");
                (wait, Phase::Waiting(why))
            }
            Next::Park(wait) => {
                tracing::error!(
                    server = &*upstream.name,
                    why = &*why,
                    wait_ms = millis(wait),
                    "a server ends again and again: it rests"
                );
                (wait, Phase::Parked(why))
            }
        };
        instance.set(phase);
        tokio::select! {
            () = tokio::time::sleep(wait) => {}
            () = instance.wanted_now.notified() => restarts = Restarts::new(upstream.intensity()),
            () = instance.is_to_end() => return,
        }
    }
}

/// Ends a conversation that nobody uses, whether its server is there or not. One that all share is kept.
async fn end_when_idle(instance: &Instance) -> Infallible {
    if instance.key == Key::Shared {
        return std::future::pending().await;
    }
    let mut looks = tokio::time::interval(LOOK);
    loop {
        looks.tick().await;
        if !instance.is_ending() && instance.end_if_idle(instance.upstream.settings().idle_timeout) {
            tracing::info!(server = &*instance.upstream.name, "a conversation is idle, and ended");
        }
    }
}

/// One conversation from its opening to its end: how long it was open, and why it ended.
async fn one(instance: &Arc<Instance>, is_again: bool, last_words: &LastWords) -> (Option<Duration>, String) {
    let begun_at = Instant::now();
    // At the level that is always there: what is logged beneath it says of which server it is.
    let span = tracing::error_span!("upstream", server = &*instance.upstream.name);
    let opening =
        tokio::time::timeout(instance.upstream.settings().start_timeout, open(instance, last_words).instrument(span));
    let opened = tokio::select! {
        opened = opening => opened,
        // The attempt is given up, and what it began ends with it.
        () = instance.is_to_end() => return (None, ENDED.to_owned()),
    };
    let Opened { client, catalogue, unread, events } = match opened {
        Ok(Ok(opened)) => opened,
        Ok(Err(error)) => return (None, why_not(&instance.upstream.place, &error)),
        Err(_) => return (None, "it did not start in time".to_owned()),
    };
    tracing::info!(
        server = &*instance.upstream.name,
        revision = client.revision().map(Revision::as_str),
        tools = catalogue.tools.len(),
        took_ms = millis(begun_at.elapsed()),
        "a server is there"
    );
    let opened_at = Instant::now();
    let catalogue = match offer(instance, &client, catalogue).await {
        Ok(catalogue) => catalogue,
        Err(error) => return (None, error.to_string()),
    };
    if is_again {
        instance.upstream.recovered();
    }
    let why = tokio::select! {
        why = attend(instance, &client, (catalogue, unread), events) => why,
        () = instance.is_to_end() => ENDED.to_owned(),
    };
    // Before its process is ended, so that no call begins on its way out.
    if !instance.is_ending() {
        instance.set(Phase::Waiting(why.as_str().into()));
    }
    client.close().await;
    (Some(opened_at.elapsed()), why)
}

/// A number in logs; one of 128 bits would be a text there.
fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

/// Why a conversation could not be opened, and what to do about it where that is known.
fn why_not(place: &Place, error: &Error) -> String {
    match (place, error) {
        (Place::Remote { headers, .. }, Error::Unauthorized(why)) if names_credentials(headers) => {
            format!("not authorized: the server refuses the Authorization header of the configuration: {why}")
        }
        // Who makes tokens may have said it.
        (Place::Remote { url, .. }, Error::Unauthorized(why)) if !why.contains(LOG_IN) => {
            // What follows may be secret.
            let url = url.split(['?', '#']).next().unwrap_or_default();
            format!("{error}{LOG_IN}andon login {url}")
        }
        _ => error.to_string(),
    }
}

/// The same with what the server wrote last. Where its process ended that is there already.
fn with_last_words(why: String, last_words: &LastWords) -> String {
    let last_words = lock(last_words);
    if last_words.is_empty() || why.contains(LAST_WORDS) {
        return why;
    }
    let last_words: Vec<_> = last_words.iter().map(String::as_str).collect();
    format!("{why}{LAST_WORDS}{}", last_words.join(" | "))
}

/// Whether these headers of the configuration say who Andon is.
fn names_credentials(headers: &BTreeMap<String, String>) -> bool {
    headers.keys().any(|name| name.eq_ignore_ascii_case("authorization"))
}

async fn open(instance: &Arc<Instance>, last_words: &LastWords) -> Result<Opened, Error> {
    let upstream = &instance.upstream;
    let settings = upstream.settings();
    let mut builder = match &upstream.place {
        Place::Child { program, args, env, folder, masked } => {
            let mut command = andon_client::Command::new(program).args(args);
            for (name, value) in masked {
                command = command.mask(name, value);
            }
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
            // Servers that offer both eras can ask in all ways that they know in this one only.
            Client::builder(Target::from(command)).first_try(Era::Legacy)
        }
        Place::Remote { url, headers } => {
            let mut builder = Client::builder(url.as_str());
            for (name, value) in headers {
                builder = builder.header(name, value);
            }
            if names_credentials(headers) { builder } else { upstream.prepare(builder, url) }
        }
    };
    if let Some(revision) = settings.protocol {
        builder = builder.protocol(revision);
    }
    let (me, logs, last_words) = (Arc::downgrade(instance), Arc::downgrade(instance), last_words.clone());
    let client = builder
        .info("andon", env!("CARGO_PKG_VERSION"))
        .restart(Restart::Never)
        .open_timeout(settings.start_timeout)
        .timeout(settings.timeout)
        .timeout_max(settings.timeout_max)
        .without_cache()
        .questions_max(QUESTIONS_MAX)
        .on_question(instance.capabilities.clone(), move |question| questions::answer(me.clone(), question))
        .on_log(move |level, logger, data| {
            if let Some(instance) = logs.upgrade() {
                instance.log(level, logger.as_deref(), &data);
            }
        })
        .on_stderr(move |line| {
            let mut last_words = lock(&last_words);
            last_words.push_back(clip(line).to_owned());
            if last_words.len() > LAST_WORDS_MAX {
                last_words.pop_front();
            }
        })
        .connect()
        .await?;
    // From here on nothing that it tells is missed.
    let events = client.events();
    // What it cannot list now is what it was before it was restarted.
    let known = upstream.known_in(&instance.key).map(|known| Catalogue::clone(&known)).unwrap_or_default();
    let (catalogue, unread) = meet(&client, upstream.source(&settings), known).await?;
    Ok(Opened { client, catalogue, unread, events })
}

/// A conversation that was opened.
struct Opened {
    client: Client,
    catalogue: Catalogue,
    /// What of it could not be read.
    unread: Lists,
    events: Events,
}

/// What follows the opening of each session: reads what the server has, of which `known` was known, and says what is wanted of its
/// log. What could not be read is returned as well.
async fn meet(client: &Client, server: Server<'_>, known: Catalogue) -> Result<(Catalogue, Lists), Error> {
    let (catalogue, unread) = known.load(client, server).await?;
    let logs = catalogue.capabilities.logging.is_some();
    let per_request = client.revision().is_some_and(|revision| revision.rules().log_level_per_request);
    if logs && !per_request {
        // Each client's session filters by itself.
        if let Err(error) = client.set_log_level(Level::Debug).await {
            tracing::debug!(server = server.name, %error, "a server does not take a log level");
        }
    }
    Ok((catalogue, unread))
}

/// What is to be read again.
#[derive(Default, Clone, Copy)]
struct Stale {
    lists: Lists,
    /// There is another session, in which nothing is known and nothing was said yet.
    session: bool,
}

impl Stale {
    const ALL: Self = Self { lists: Lists::ALL, session: true };

    fn and(self, other: Self) -> Self {
        Self { lists: self.lists.and(other.lists), session: self.session || other.session }
    }

    fn is_any(self) -> bool {
        self.lists.is_any() || self.session
    }
}

/// Attends to a conversation until its server is gone, and then says why.
async fn attend(
    instance: &Arc<Instance>,
    client: &Client,
    (catalogue, unread): (Arc<Vetted>, Lists),
    events: Events,
) -> String {
    let (stale, reopened) = (watch::Sender::new(Stale::default()), Notify::new());
    let watching = async {
        instance.renew_watches(client).await;
        loop {
            reopened.notified().await;
            // Each of several streams says so.
            tokio::time::sleep(SETTLE).await;
            instance.may_have_changed();
        }
    };
    tokio::select! {
        why = heed(instance, events, (&stale, &reopened)) => why,
        why = stay_in_touch(instance, client) => why,
        never = keep_lists(instance, client, (catalogue, unread), &stale) => match never {},
        never = watching => match never {},
    }
}

/// Heeds what the server tells, until it is gone; then says why.
async fn heed(instance: &Instance, mut events: Events, (stale, reopened): (&watch::Sender<Stale>, &Notify)) -> String {
    while let Some(event) = events.next().await {
        match event {
            Event::Disconnected(loss) => return loss.to_string(),
            Event::ToolsChanged => stale.send_modify(|stale| stale.lists.tools = true),
            Event::PromptsChanged => stale.send_modify(|stale| stale.lists.prompts = true),
            Event::ResourcesChanged => stale.send_modify(|stale| {
                (stale.lists.resources, stale.lists.templates) = (true, true);
            }),
            Event::Reopened => {
                // Where there are no sessions, a stream was renewed, and says nothing of how the server fares.
                if !instance.says_whose() {
                    instance.upstream.recovered();
                }
                stale.send_replace(Stale::ALL);
                reopened.notify_one();
            }
            // One that is not shown any more may still be watched.
            Event::ResourceUpdated(uri) if !instance.upstream.settings().resources.permit(&uri) => {}
            Event::ResourceUpdated(uri) => instance.upstream.updated(&instance.key, &instance.watched_as(&uri)),
            Event::ElicitationComplete(id) => instance.elicitation_complete(&id),
            _ => {}
        }
    }
    "the connection is closed".to_owned()
}

/// Asks the server now and then whether it is there, until it is not; then says so.
async fn stay_in_touch(instance: &Instance, client: &Client) -> String {
    let interval = instance.upstream.settings().ping_interval;
    let mut pings = tokio::time::interval_at(Instant::now() + interval, interval);
    let mut missed = 0;
    instance.set_silent(false);
    while missed < PINGS_MISSED_MAX {
        pings.tick().await;
        // A server that works may have no time to answer; one whose calls run out of theirs may not be there at all.
        if instance.is_at_work() && !instance.is_silent() {
            missed = 0;
            continue;
        }
        let answer = tokio::time::timeout(PING_TIMEOUT.min(interval), client.ping()).await;
        let answers = matches!(answer, Ok(Ok(_) | Err(Error::Protocol(_))));
        if answers || matches!(answer, Ok(Err(Error::Transport(Loss::Unreachable(_))))) {
            instance.upstream.reached(answers);
        }
        instance.set_silent(!answers);
        missed = if answers { 0 } else { missed + 1 };
    }
    format!("it did not answer {missed} pings")
}

/// What a server could not give of its lists, and when it is asked again.
struct Unread {
    lists: Lists,
    wait: Duration,
    at: Instant,
}

impl Unread {
    fn new(lists: Lists) -> Self {
        Self { lists, wait: UNREAD_WAIT, at: Instant::now() + UNREAD_WAIT }
    }

    /// These lists were asked for, of which it could not give those that `failed`.
    fn note(&mut self, asked: Lists, failed: Lists) {
        let is_new = failed.without(self.lists).is_any();
        self.lists = self.lists.without(asked).and(failed);
        if is_new {
            *self = Self::new(self.lists);
        } else if failed.is_any() {
            self.delay();
        }
    }

    fn delay(&mut self) {
        self.wait = (self.wait * 2).min(UNREAD_WAIT_MAX);
        self.at = Instant::now() + self.wait;
    }
}

/// Reads lists again that the server says to have changed, and those that it could not give.
async fn keep_lists(
    instance: &Arc<Instance>,
    client: &Client,
    (mut known, unread): (Arc<Vetted>, Lists),
    stale: &watch::Sender<Stale>,
) -> Infallible {
    let mut listening = listen(instance, client, &known).await;
    let (mut told, mut settle, mut unread) = (stale.subscribe(), SETTLE, Unread::new(unread));
    loop {
        tokio::select! {
            () = async {
                // The sender lives as long as this.
                drop(told.wait_for(|stale| stale.is_any()).await);
                tokio::time::sleep(settle).await;
            } => {}
            () = tokio::time::sleep_until(unread.at), if unread.lists.is_any() => {}
        }
        // Whichever is first takes the other along, so that neither holds up the other.
        let mut taken = stale.send_replace(Stale::default());
        let is_told = taken.is_any();
        if unread.at <= Instant::now() {
            taken.lists = taken.lists.and(unread.lists);
        }
        match read_again(instance, client, &known, taken).await {
            Ok((read, failed)) => {
                unread.note(if taken.session { Lists::ALL } else { taken.lists }, failed);
                if is_told {
                    // Who cries wolf is looked at less often.
                    settle = if read == known { (settle * 2).min(SETTLE_MAX) } else { SETTLE };
                }
                if read.capabilities != known.capabilities {
                    drop(listening);
                    listening = listen(instance, client, &read).await;
                }
                known = read;
            }
            Err(error) => {
                tracing::warn!(server = &*instance.upstream.name, %error, "lists cannot be read");
                // It said once that they changed, and may not say so again.
                stale.send_modify(|stale| *stale = stale.and(taken));
                settle = (settle * 2).min(RETRY_MAX);
                unread.delay();
            }
        }
    }
}

/// Asks to be told of changes of the lists, where the server tells of them.
async fn listen(instance: &Instance, client: &Client, catalogue: &Catalogue) -> Option<Listening> {
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
    if wanted == Listen::default() {
        return None;
    }
    let listening = client.listen(wanted).await.inspect_err(|error| {
        tracing::warn!(server = &*instance.upstream.name, %error, "a server does not tell of changes");
    });
    listening.ok()
}

async fn read_again(
    instance: &Arc<Instance>,
    client: &Client,
    known: &Catalogue,
    stale: Stale,
) -> Result<(Arc<Vetted>, Lists), Error> {
    let settings = instance.upstream.settings();
    let server = instance.upstream.source(&settings);
    let mut catalogue = known.clone();
    let unread = if stale.session {
        let unread;
        (catalogue, unread) = meet(client, server, catalogue).await?;
        unread
    } else {
        catalogue.read(client, server, stale.lists).await?
    };
    Ok((offer(instance, client, catalogue).await?, unread))
}

/// From now on calls can be made of what the server lists.
async fn offer(instance: &Arc<Instance>, client: &Client, catalogue: Catalogue) -> Result<Arc<Vetted>, Error> {
    let listing = instance.upstream.heed(instance, catalogue).await?;
    let catalogue = listing.after.clone();
    instance.set(Phase::Ready(Ready { client: client.clone(), catalogue: catalogue.clone() }));
    instance.upstream.listed(instance, &listing);
    Ok(catalogue)
}

#[cfg(test)]
mod tests;
