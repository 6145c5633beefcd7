//! Sessions that outlive the process: a second one goes on where the first stopped, and only one of them does.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

mod common;

use std::sync::Arc;
use std::time::Duration;

use andon_core::port::Store;
use andon_server::sessions::Sessions;
use andon_store::{DiskStore, Durability, FaultyStore, MemoryStore};
use common::{Open, Running, call, open, parse_events, post, send, start_in, start_keeping};
use serde_json::{Value, json};

fn store() -> Arc<dyn Store> {
    Arc::new(MemoryStore::new())
}

fn request(id: u32, method: &str, params: Value) -> Value {
    json!({"jsonrpc": "2.0", "id": id, "method": method, "params": params})
}

fn of(session: &str) -> [(&str, &str); 1] {
    [("Mcp-Session-Id", session)]
}

/// Opens the answer of a call that waits, up to the event id that opens it.
async fn waiting(server: &Running, session: &str, id: u32) -> (Open, String) {
    let mut answer = Open::new(server.address, "POST", &of(session), &call(id, "wait").to_string()).await;
    let text = answer.until("notifications/progress").await.to_owned();
    let (id, _) = parse_events(text.split_once("\r\n\r\n").unwrap().1).swap_remove(0);
    (answer, id)
}

async fn resume(server: &Running, session: &str, last: &str, mark: &str) -> Vec<(String, String)> {
    let headers = [("Mcp-Session-Id", session), ("Last-Event-ID", last)];
    let mut stream = Open::new(server.address, "GET", &headers, "").await;
    stream.until(mark).await;
    stream.finish().await.events()
}

#[tokio::test]
async fn k1_a_session_goes_on_after_the_process_is_gone() {
    let store = store();
    let first = start_in(&store).await;
    let session = open(first.address, "2025-11-25", &[]).await;
    let subscribe = request(1, "resources/subscribe", json!({"uri": "test://a"}));
    assert_eq!(post(first.address, &of(&session), &subscribe).await.status, 200);
    first.kill();

    let second = start_in(&store).await;
    assert_eq!(second.host.recover().await.unwrap().sessions, 1);
    let answer = post(second.address, &of(&session), &request(2, "tools/list", json!({}))).await;
    assert_eq!(answer.status, 200, "{answer:?}");
    // What may have changed while nobody listened is announced, and changes from now on are.
    let mut standing = Open::new(second.address, "GET", &of(&session), "").await;
    standing.until("notifications/resources/updated").await;
    assert!(standing.until("notifications/tools/list_changed").await.contains("test://a"));
}

#[tokio::test]
async fn k3_what_ran_when_the_process_died_has_an_unknown_outcome_once() {
    let store = store();
    let first = start_in(&store).await;
    let session = open(first.address, "2025-11-25", &[]).await;
    let (answer, opened) = waiting(&first, &session, 7).await;
    first.kill();
    drop(answer);

    let second = start_in(&store).await;
    let events = resume(&second, &session, &opened, "outcome unknown").await;
    let [progress, (last, answer)] = events.as_slice() else { panic!("{events:?}") };
    assert!(progress.1.contains("notifications/progress"), "{events:?}");
    let answer: Value = serde_json::from_str(answer).unwrap();
    assert_eq!((&answer["id"], &answer["error"]["code"]), (&json!(7), &json!(-32603)));
    second.kill();

    // It stays so in the next process, and is not said twice to whoever has heard it.
    let third = start_in(&store).await;
    assert_eq!(resume(&third, &session, &opened, "outcome unknown").await, events);
    let headers = [("Mcp-Session-Id", session.as_str()), ("Last-Event-ID", last.as_str())];
    let rest = send(third.address, "GET", &headers, "").await;
    assert_eq!((rest.status, rest.events().len()), (200, 0), "{rest:?}");
}

#[tokio::test]
async fn k4_an_answer_that_was_missed_is_the_same_in_the_next_process() {
    let store = store();
    let first = start_in(&store).await;
    let session = open(first.address, "2025-11-25", &[]).await;
    let (answer, opened) = waiting(&first, &session, 7).await;
    first.gates.go.notify_one();
    let seen = answer.finish().await.events();
    first.kill();

    let second = start_in(&store).await;
    assert_eq!(resume(&second, &session, &opened, "waited").await, seen[1..]);
}

#[tokio::test]
async fn k8_what_was_deleted_stays_so() {
    let store = store();
    let first = start_in(&store).await;
    let session = open(first.address, "2025-11-25", &[]).await;
    assert_eq!(send(first.address, "DELETE", &of(&session), "").await.status, 204);
    first.kill();

    let second = start_in(&store).await;
    assert_eq!(post(second.address, &of(&session), &request(2, "ping", json!({}))).await.status, 404);
    assert_eq!(second.host.session_count(), 0);
}

#[tokio::test]
async fn i10_whoever_lost_a_session_adds_nothing_to_it() {
    let store = store();
    let (first, second) = (start_in(&store).await, start_in(&store).await);
    let session = open(first.address, "2025-11-25", &[]).await;
    let (answer, _) = waiting(&first, &session, 7).await;
    // The other node takes it over while the first still works on a call.
    let taken = request(8, "resources/subscribe", json!({"uri": "test://a"}));
    assert_eq!(post(second.address, &of(&session), &taken).await.status, 200);
    first.gates.go.notify_one();
    let said = answer.finish().await;
    assert!(!said.body.contains("waited"), "{said:?}");
    // Asked again, the first has what the second wrote.
    let (_, status) = (first.address, post(first.address, &of(&session), &request(9, "ping", json!({}))).await.status);
    assert_eq!(status, 200);
    let mut standing = Open::new(first.address, "GET", &of(&session), "").await;
    standing.until("test://a").await;
}

#[tokio::test]
async fn s_who_is_not_the_owner_finds_nothing_in_the_store_either() {
    let store = store();
    let people = |options: &mut andon_http::HttpOptions| options.verifier = Some(Arc::new(common::People));
    let keeping = || Sessions::in_store(store.clone()).max_per_principal(1);
    let first = start_keeping(keeping(), people, |_| ()).await;
    let alice = ("Authorization", "Bearer alice");
    let session = open(first.address, "2025-11-25", &[alice]).await;
    first.kill();

    let second = start_keeping(keeping(), people, |_| ()).await;
    let ping = request(2, "ping", json!({}));
    let of = |who: &'static str| [("Authorization", who), ("Mcp-Session-Id", session.as_str())];
    assert_eq!(post(second.address, &of("Bearer bob"), &ping).await.status, 404);
    assert_eq!(post(second.address, &of("Bearer alice"), &ping).await.status, 200);
    // It still counts as hers.
    second.host.recover().await.unwrap();
    assert_eq!(post(second.address, &[alice], &common::initialize("2025-11-25")).await.status, 429);
}

#[tokio::test]
async fn a_session_that_nobody_uses_leaves_memory_and_comes_back() {
    let store = store();
    let rest = |options: &mut andon_server::options::HostOptions| options.rest_after = Duration::ZERO;
    let server = start_keeping(Sessions::in_store(store), |_| (), rest).await;
    let session = open(server.address, "2025-11-25", &[]).await;
    let aside = async {
        while server.host.sessions_in_memory() > 0 {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(Duration::from_secs(20), aside).await.expect("it is set aside");
    assert_eq!(server.host.session_count(), 1);
    assert_eq!(post(server.address, &of(&session), &request(2, "ping", json!({}))).await.status, 200);
}

/// A store that is out: what has to be written down is refused, what has not is served, and nothing is lost.
#[tokio::test]
async fn x10_an_outage_is_503_and_never_404_and_ends() {
    let faulty = Arc::new(FaultyStore::new(store()));
    let store: Arc<dyn Store> = faulty.clone();
    let server = start_in(&store).await;
    let session = open(server.address, "2025-11-25", &[]).await;
    let cold = open(server.address, "2025-11-25", &[]).await;
    let mut standing = Open::new(server.address, "GET", &of(&session), "").await;
    standing.until("data: \n\n").await;
    faulty.outage(true);

    let subscribe = |id| request(id, "resources/subscribe", json!({"uri": "test://a"}));
    let refused = post(server.address, &of(&session), &subscribe(1)).await;
    assert_eq!(refused.status, 503, "{refused:?}");
    assert!(refused.header("retry-after").is_some(), "{refused:?}");
    // Neither does anything run that has to be written down first, nor is a session opened or ended.
    assert_eq!(post(server.address, &of(&session), &call(2, "echo")).await.status, 503);
    assert_eq!(post(server.address, &[], &common::initialize("2025-11-25")).await.status, 503);
    assert_eq!(send(server.address, "DELETE", &of(&cold), "").await.status, 503);
    // Another process cannot know whether the session is there.
    let other = start_in(&store).await;
    assert_eq!(post(other.address, &of(&session), &request(3, "ping", json!({}))).await.status, 503);
    // What needs no store goes on.
    assert_eq!(post(server.address, &of(&session), &request(4, "tools/list", json!({}))).await.status, 200);

    faulty.outage(false);
    let up = async {
        let mut id = 10;
        while post(server.address, &of(&session), &subscribe(id)).await.status == 503 {
            id += 1;
        }
    };
    tokio::time::timeout(Duration::from_secs(20), up).await.expect("the store is found to be back");
    server.updated("test://a");
    standing.until("notifications/resources/updated").await;
    // The session that could not be ended is still there.
    assert_eq!(post(server.address, &of(&cold), &request(5, "ping", json!({}))).await.status, 200);
}

#[tokio::test]
async fn x10_a_write_of_unknown_outcome_is_looked_after() {
    use andon_store::Really;
    for really in [Really::Done, Really::NotDone] {
        let faulty = Arc::new(FaultyStore::new(store()));
        let store: Arc<dyn Store> = faulty.clone();
        let server = start_in(&store).await;
        let session = open(server.address, "2025-11-25", &[]).await;
        faulty.leave_writes_unknown(1, really);
        let subscribe = request(1, "resources/subscribe", json!({"uri": "test://a"}));
        assert_eq!(post(server.address, &of(&session), &subscribe).await.status, 200);
        server.kill();
        let next = start_in(&store).await;
        let mut standing = Open::new(next.address, "GET", &of(&session), "").await;
        standing.until("test://a").await;
    }
}

/// Nothing that a turn says leaves before what it changed is in the store.
#[tokio::test]
async fn i_nothing_is_acknowledged_before_it_is_durable() {
    let faulty = Arc::new(FaultyStore::new(store()));
    let store: Arc<dyn Store> = faulty.clone();
    let server = start_in(&store).await;
    let session = open(server.address, "2025-11-25", &[]).await;
    faulty.hold();
    let subscribe = request(1, "resources/subscribe", json!({"uri": "test://a"}));
    let (held, of) = (of(&session), Duration::from_millis(300));
    let mut answer = std::pin::pin!(post(server.address, &held, &subscribe));
    assert!(tokio::time::timeout(of, &mut answer).await.is_err(), "it was acknowledged too soon");
    faulty.release();
    assert_eq!(answer.await.status, 200);
}

/// Time for something to be said that must not be.
async fn meanwhile(server: &Running) {
    for _ in 0..20 {
        assert_eq!(send(server.address, "GET", &[], "").await.status, 400);
    }
}

#[tokio::test]
async fn k6_who_asks_again_is_not_answered_before_it_is_durable_either() {
    let store = Arc::new(FaultyStore::new(store()));
    let server = start_in(&(store.clone() as Arc<dyn Store>)).await;
    for (method, params) in [
        ("resources/subscribe", json!({"uri": "test://a"})),
        ("logging/setLevel", json!({"level": "error"})),
        ("resources/unsubscribe", json!({"uri": "test://a"})),
    ] {
        let session = open(server.address, "2025-11-25", &[]).await;
        store.hold();
        let ask = async |id| {
            Open::new(server.address, "POST", &of(&session), &request(id, method, params.clone()).to_string()).await
        };
        let mut first = ask(1).await;
        meanwhile(&server).await;
        let mut second = ask(2).await;
        tokio::select! {
            said = first.until("result") => panic!("{said}"),
            said = second.until("result") => panic!("{said}"),
            () = meanwhile(&server) => {}
        }
        store.release();
        first.until("result").await;
        second.until("result").await;
    }
}

#[tokio::test]
async fn k4_what_is_not_durable_yet_is_not_replayed_either() {
    let store = Arc::new(FaultyStore::new(store()));
    let server = start_in(&(store.clone() as Arc<dyn Store>)).await;
    let session = open(server.address, "2025-11-25", &[]).await;
    let (answer, opened) = waiting(&server, &session, 7).await;
    store.hold();
    server.gates.go.notify_one();
    drop(answer);
    let headers = [("Mcp-Session-Id", session.as_str()), ("Last-Event-ID", opened.as_str())];
    let mut again = Open::new(server.address, "GET", &headers, "").await;
    tokio::select! {
        said = again.until("waited") => panic!("{said}"),
        () = meanwhile(&server) => {}
    }
    store.release();
    again.until("waited").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn s8_who_comes_back_during_a_deletion_brings_nothing_back() {
    let folder = tempfile::tempdir().unwrap();
    let server = start_keeping(Sessions::disk(folder.path()), |_| (), |_| ()).await;
    for _ in 0..40 {
        let session = open(server.address, "2025-11-25", &[]).await;
        let ping = request(2, "ping", json!({}));
        let (session_id, address) = (of(&session), server.address);
        let during = (0..8).map(|_| post(address, &session_id, &ping));
        let (deleted, _) =
            tokio::join!(send(address, "DELETE", &session_id, ""), futures_util::future::join_all(during));
        assert_eq!(deleted.status, 204);
        assert_eq!(post(address, &session_id, &ping).await.status, 404);
    }
}

/// A store that may forget the last moments keeps sessions, but no streams: a gap would be silent, and numbers used twice.
#[tokio::test]
async fn k4_a_store_that_may_forget_promises_no_streams_over_restarts() {
    let directory = tempfile::tempdir().unwrap();
    let keeping = || Sessions::disk(directory.path()).durability(Durability::Interval(Duration::from_secs(60)));
    let first = start_keeping(keeping(), |_| (), |_| ()).await;
    let session = open(first.address, "2025-11-25", &[]).await;
    let (answer, opened) = waiting(&first, &session, 7).await;
    drop(answer);
    first.gates.go.notify_one();
    // An orderly end leaves everything on disk, and the directory to the next process.
    first.host.drain(Duration::from_secs(20)).await;
    first.kill();

    let reopened = async {
        loop {
            // The first process has the directory until the last of its tasks is gone.
            match DiskStore::open(directory.path(), Durability::Interval(Duration::from_secs(60))) {
                Ok(store) => return Arc::new(store) as Arc<dyn Store>,
                Err(_) => tokio::task::yield_now().await,
            }
        }
    };
    let store = tokio::time::timeout(Duration::from_secs(20), reopened).await.expect("the directory is free");
    let second = start_in(&store).await;
    assert_eq!(post(second.address, &of(&session), &request(2, "ping", json!({}))).await.status, 200);
    let headers = [("Mcp-Session-Id", session.as_str()), ("Last-Event-ID", opened.as_str())];
    assert_eq!(send(second.address, "GET", &headers, "").await.status, 400);
}
