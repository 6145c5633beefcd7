use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use andon_core::port::Store;
use andon_core::session::Phase;
use andon_store::{FaultyStore, MemoryStore};
use serde_json::{Value, json};

use super::{SessionPage, SessionQuery, SessionView, State, StoreStatus, Transport};
use crate::context::Context;
use crate::entry::ToolEntry;
use crate::host::{Answer, Head, Host, Inbound, ResponseStream};
use crate::principal::Principal;
use crate::server::Server;
use crate::sessions::Sessions;

/// A process that keeps sessions in `store`.
fn host(sessions: Sessions) -> Arc<Host> {
    let wait = |_: Value, context: Context| async move {
        let _told = context.progress(1.0, None, None).await;
        std::future::pending::<()>().await;
    };
    let server =
        Server::new("test", "1").sessions(sessions).with(ToolEntry::from_fn("wait", json!({"type": "object"}), wait));
    server.build().expect("a good server")
}

fn inbound<'a>(principal: &Principal, session: Option<&'a str>, body: &Value) -> Inbound<'a> {
    let head = Head { session_id: session, ..Head::default() };
    Inbound { head, body: body.to_string().into(), principal: principal.clone() }
}

fn who(subject: &str) -> Principal {
    if subject.is_empty() { Principal::anonymous() } else { Principal::verified(subject, []) }
}

async fn post(host: &Arc<Host>, subject: &str, session: Option<&str>, body: &Value) -> Answer {
    host.post(inbound(&who(subject), session, body)).await
}

fn status(answer: &Answer) -> u16 {
    match answer {
        Answer::Ready { status, .. } => *status,
        Answer::Stream { .. } => 200,
        Answer::InsufficientScope { .. } => 403,
    }
}

async fn open_as(host: &Arc<Host>, subject: &str, client: &str) -> String {
    let params =
        json!({"protocolVersion": "2025-11-25", "capabilities": {}, "clientInfo": {"name": client, "version": "1"}});
    let opening = json!({"jsonrpc": "2.0", "id": 0, "method": "initialize", "params": params});
    let id = match post(host, subject, None, &opening).await {
        Answer::Ready { session_id, .. } | Answer::Stream { session_id, .. } => session_id.expect("a session"),
        Answer::InsufficientScope { .. } => panic!("refused"),
    };
    let ready = json!({"jsonrpc": "2.0", "method": "notifications/initialized"});
    assert_eq!(status(&post(host, subject, Some(&id), &ready).await), 202);
    id
}

async fn open(host: &Arc<Host>, subject: &str) -> String {
    open_as(host, subject, "c").await
}

async fn ping(host: &Arc<Host>, subject: &str, session: &str) -> u16 {
    status(&post(host, subject, Some(session), &json!({"jsonrpc": "2.0", "id": 9, "method": "ping"})).await)
}

/// A call that waits, and its answer, which has begun.
async fn wait(host: &Arc<Host>, subject: &str, session: &str) -> ResponseStream {
    let params = json!({"name": "wait", "arguments": {"secret": "hunter2"}, "_meta": {"progressToken": 1}});
    let call = json!({"jsonrpc": "2.0", "id": "call-1", "method": "tools/call", "params": params});
    match post(host, subject, Some(session), &call).await {
        Answer::Stream { mut stream, .. } => {
            stream.begin_events();
            stream.next().await.expect("it opens");
            stream.next().await.expect("progress");
            stream
        }
        other => panic!("{other:?}"),
    }
}

async fn all(host: &Arc<Host>, query: SessionQuery) -> Vec<SessionView> {
    let (mut query, mut views) = (query, Vec::new());
    loop {
        let SessionPage { sessions, next, is_store_down } = host.sessions(&query).await;
        assert!(sessions.len() <= query.max && !is_store_down);
        views.extend(sessions);
        query.after = next;
        if next.is_none() {
            return views;
        }
    }
}

fn by(max: usize) -> SessionQuery {
    SessionQuery { max, ..SessionQuery::default() }
}

fn shared() -> Arc<dyn Store> {
    Arc::new(MemoryStore::new())
}

#[tokio::test]
async fn sessions_in_memory_and_in_the_store_are_one_list() {
    let store = shared();
    let first = host(Sessions::in_store(store.clone()));
    let mut ids = Vec::new();
    for subject in ["alice", "bob", "", "alice", "alice"] {
        ids.push((subject, open(&first, subject).await));
    }
    let second = host(Sessions::in_store(store));
    let found = second.recover().await.expect("it answers");
    assert_eq!(found.sessions, 5);
    assert!(all(&second, by(100)).await.iter().all(|view| !view.is_in_memory && view.epoch == 1));
    // Whoever comes back is in memory again.
    for (subject, id) in &ids[..2] {
        assert_eq!(ping(&second, subject, id).await, 200);
    }
    for max in [1, 2, 3, 5, 100] {
        let views = all(&second, by(max)).await;
        let names: Vec<_> = views.iter().map(|view| view.name).collect();
        assert!(names.is_sorted() && names.iter().collect::<BTreeSet<_>>().len() == 5, "{names:?}");
        assert_eq!(views.iter().filter(|view| view.is_in_memory && view.epoch == 2).count(), 2);
    }
    for (subject, count) in [("alice", 3), ("bob", 1), ("", 1), ("carol", 0)] {
        let query = SessionQuery { principal: Some(subject.to_owned()), ..by(2) };
        let views = all(&second, query).await;
        assert_eq!(views.len(), count, "{subject}");
        assert!(views.iter().all(|view| view.principal.as_deref().unwrap_or_default() == subject));
    }
    let status = second.status();
    assert_eq!((status.sessions, status.sessions_in_memory, status.store), (5, 2, StoreStatus::Up));
    assert_eq!(first.status().sessions_in_memory, 5);
}

#[tokio::test]
async fn a_session_shows_what_runs_in_it_and_nothing_that_was_said() {
    for sessions in [Sessions::memory(), Sessions::in_store(shared())] {
        let host = host(sessions);
        let id = open_as(&host, "alice", &"long ".repeat(100_000)).await;
        let idle = open(&host, "bob").await;
        let stream = wait(&host, "alice", &id).await;
        let views = all(&host, by(10)).await;
        let in_state = |state| SessionQuery { state: Some(state), ..by(10) };
        let active = all(&host, in_state(State::Active)).await;
        let [view] = active.as_slice() else { panic!("{views:?}") };
        assert_eq!(
            (view.phase, view.transport, view.principal.as_deref()),
            (Phase::Initialized, Transport::Http, Some("alice"))
        );
        assert_eq!((view.streams_open, view.requests, view.events_buffered), (1, 1, Some(1)), "{view:?}");
        assert!(view.expires_in_ms.is_none(), "a busy session does not expire");
        assert_eq!(all(&host, in_state(State::Suspended)).await[0].principal.as_deref(), Some("bob"));
        assert!(all(&host, SessionQuery { phase: Some(Phase::Initializing), ..by(10) }).await.is_empty());

        let shown = host.session_view(view.name).await.expect("in memory").expect("there");
        let detail = shown.detail.as_ref().expect("asked for by name");
        let [request] = detail.requests.as_slice() else { panic!("{detail:?}") };
        assert_eq!((request.method.as_str(), request.name.as_deref()), ("tools/call", Some("wait")));
        assert!(detail.streams[0].is_open && detail.streams[0].bytes_buffered > 0);
        let text = format!("{}{}", json!(views), json!(shown));
        for secret in ["hunter2", &id, &idle] {
            assert!(!text.contains(secret), "{text}");
        }
        assert!(text.len() < 4_000, "what a client says of itself is cut: {} bytes", text.len());
        let back: SessionView = serde_json::from_value(json!(shown)).expect("programs read it");
        assert_eq!(back, shown);
        drop(stream);
    }
}

#[tokio::test]
async fn s1_a_name_opens_nothing() {
    let host = host(Sessions::in_store(shared()));
    let id = open(&host, "").await;
    let name = all(&host, by(1)).await[0].name.to_string();
    assert!(name.len() == 16 && !id.contains(&name));
    for guess in [name.clone(), format!("{name}{name}"), format!("{name}0000000000000000")] {
        assert_eq!(ping(&host, "", &guess).await, 404);
    }
    assert!("0123456789ABCDEF".parse::<super::SessionName>().is_err(), "one spelling");
}

#[tokio::test]
async fn s4_what_an_operator_ended_is_gone_for_ever_in_memory_or_not() {
    let store = shared();
    let first = host(Sessions::in_store(store.clone()));
    let ids = [open(&first, "alice").await, open(&first, "alice").await];
    let second = host(Sessions::in_store(store.clone()));
    second.recover().await.expect("it answers");
    let mut stream = wait(&second, "alice", &ids[0]).await;
    let events_in_store = {
        let third = host(Sessions::in_store(store.clone()));
        let query = SessionQuery { state: Some(State::Suspended), ..by(10) };
        let mut events = 0;
        for view in all(&third, query).await {
            let shown = third.session_view(view.name).await.expect("it answers").expect("there");
            assert!(view.events_buffered.is_none_or(|known| known == 0), "a list does not read events");
            events += shown.events_buffered.expect("by name they are read");
        }
        events
    };
    assert_eq!(events_in_store, 1, "the progress");
    for view in all(&second, by(10)).await {
        assert!(second.end_session(view.name).await.expect("it answers"));
        assert!(!second.end_session(view.name).await.expect("it answers"), "once");
        assert_eq!(second.session_view(view.name).await, Ok(None));
    }
    assert!(stream.next().await.is_none(), "its streams end");
    second.wait_until_quiet().await;
    assert_eq!((second.status().sessions, second.status().calls_running), (0, 0), "nothing runs for it");
    let third = host(Sessions::in_store(store));
    for id in &ids {
        assert_eq!(ping(&second, "alice", id).await, 404);
        assert_eq!(ping(&third, "alice", id).await, 404);
    }
}

#[tokio::test]
async fn x10_a_session_that_cannot_be_ended_is_still_there_and_counted_once() {
    let faulty = Arc::new(FaultyStore::new(shared()));
    let store: Arc<dyn Store> = faulty.clone();
    let host = host(Sessions::in_store(store));
    let id = open(&host, "alice").await;
    let name = all(&host, by(1)).await[0].name;
    for _ in 0..3 {
        faulty.outage(true);
        assert!(host.end_session(name).await.is_err(), "not ended, and that is said");
        let page = host.sessions(&by(10)).await;
        assert!(page.is_store_down);
        assert_eq!(host.status().sessions, 1);
        faulty.outage(false);
        assert_eq!(ping(&host, "alice", &id).await, 200, "it is there again");
    }
    assert!(host.end_session(name).await.expect("it answers"));
    assert_eq!((host.status().sessions, ping(&host, "alice", &id).await), (0, 404));
}

#[tokio::test]
async fn conversations_with_a_connection_of_their_own_are_seen_and_can_be_ended() {
    let host = host(Sessions::memory());
    let (pipe, mut reader) = host.connect(Principal::anonymous());
    assert!(all(&host, by(10)).await.is_empty(), "nothing was said: no session");
    let params =
        json!({"protocolVersion": "2025-06-18", "capabilities": {}, "clientInfo": {"name": "c", "version": "1"}});
    pipe.receive(json!({"jsonrpc": "2.0", "id": 0, "method": "initialize", "params": params}).to_string().as_bytes());
    reader.next().await.expect("an answer");
    let Ok((_, mut events)) = host.open_event_stream(&who("alice")) else { panic!("no stream") };
    let views = all(&host, by(1)).await;
    let transports: BTreeSet<_> = views.iter().map(|view| format!("{:?} {:?}", view.transport, view.phase)).collect();
    assert_eq!(transports.into_iter().collect::<Vec<_>>(), ["HttpSse NotInitialized", "Pipe Initializing"]);
    for view in views {
        assert!(host.end_session(view.name).await.expect("in memory"));
    }
    assert!(reader.next().await.is_none() && events.next().await.is_none(), "both are told");
    assert!(all(&host, by(10)).await.is_empty());
    assert_eq!(host.status().sessions, 0, "its place is given back");
}

#[tokio::test(start_paused = true)]
async fn what_expired_is_not_shown() {
    let host = host(Sessions::in_store(shared()).idle_timeout(Duration::from_secs(60)));
    open(&host, "").await;
    let view = all(&host, by(1)).await.remove(0);
    assert_eq!((view.expires_in_ms, view.state), (Some(60_000), State::Suspended));
    tokio::time::advance(Duration::from_secs(3600)).await;
    assert!(all(&host, by(1)).await.is_empty());
    assert_eq!(host.session_view(view.name).await, Ok(None));
}

#[tokio::test]
async fn a_page_costs_no_more_than_a_part_of_all_sessions() {
    const SESSIONS: usize = super::LOOKED_AT_MAX + 500;
    for sessions in [Sessions::memory(), Sessions::in_store(shared())] {
        let host = host(sessions);
        for _ in 0..SESSIONS {
            open(&host, "").await;
        }
        let rare = SessionQuery { state: Some(State::Active), ..by(10) };
        let first = host.sessions(&rare).await;
        assert!(first.sessions.is_empty() && first.next.is_some(), "it says where to go on");
        assert!(all(&host, rare).await.is_empty());
        let names: BTreeSet<_> = all(&host, by(SessionQuery::MAX)).await.iter().map(|view| view.name).collect();
        assert_eq!(names.len(), SESSIONS, "each once");
    }
}
