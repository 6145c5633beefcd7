//! The gateway over servers that misbehave, with clients of both eras: real processes, no mocks.
#![cfg(target_os = "linux")]
#![allow(clippy::unwrap_used, reason = "a failed unwrap is a failed test")]

mod common;

use std::sync::Arc;
use std::time::{Duration, Instant};

use andon_client::{Client, Event, Filled, Options};
use andon_server::principal::Principal;
use andon_types::capability::ClientCapabilities;
use andon_types::client::Root;
use andon_types::revision::Revision;
use common::{Bench, SOON, call, event, is_alive, resume, start, stop, tools, unruly, until};
use serde_json::{Map, Value, json};
use tokio::sync::watch;

const LEGACY: &str = "2025-11-25";
const MODERN: &str = "2026-07-28";

#[tokio::test]
async fn a_question_of_an_old_server_reaches_clients_of_all_revisions() {
    let bench = Bench::new(json!({ "a": unruly(&[], json!({})), "b": unruly(&[], json!({ "mode": "session" })) }));
    for revision in [MODERN, LEGACY, "2025-06-18"] {
        let (client, asked) = bench.person(revision, "Ada").await;
        for server in ["a", "b"] {
            let answer = call(&client, &format!("{server}__ask"), json!({ "message": "Who?" })).await.unwrap();
            assert_eq!(answer, r#"accept {"name":"Ada"}"#, "{revision}");
        }
        assert_eq!(*asked.lock().unwrap(), ["Who?", "Who?"], "{revision}");
    }
    assert_eq!(bench.gateway.parked(), 0);
    bench.gateway.stop().await;
}

#[tokio::test]
async fn questions_never_reach_another_client() {
    let bench = Bench::new(json!({ "a": unruly(&[], json!({})), "b": unruly(&[], json!({ "mode": "session" })) }));
    for server in ["a", "b"] {
        let mut people = Vec::new();
        for number in 0..4 {
            let name = format!("p{number}");
            people.push((bench.person(LEGACY, &name).await, name));
        }
        let asking = people.iter().map(|((client, asked), name)| async move {
            for _ in 0..10 {
                let answer = call(client, &format!("{server}__ask"), json!({ "message": name })).await.unwrap();
                // On a server that all share it is unclear whose question it is: nobody is asked then.
                let own = format!(r#"accept {{"name":"{name}"}}"#);
                assert!(answer == own || (server == "a" && answer == "refused"), "{answer}");
            }
            assert!(asked.lock().unwrap().iter().all(|message| message == name));
        });
        futures_util::future::join_all(asking).await;
    }
    bench.gateway.stop().await;
}

#[tokio::test]
async fn a_server_that_ends_is_restarted_and_calls_in_flight_are_told() {
    let bench = Bench::new(json!({ "a": unruly(&[], json!({})) }));
    let client = bench.client(LEGACY).await;
    let first = call(&client, "pid", json!({})).await.unwrap();
    let (waiting, crashing) =
        tokio::join!(call(&client, "wait", json!({ "ms": 20_000 })), call(&client, "crash", json!({})));
    for outcome in [waiting, crashing] {
        let why = outcome.unwrap_err().to_string();
        assert!(why.contains("was lost during the call"), "{why}");
        assert!(!why.contains("going down"), "what it says to its operator is not for clients: {why}");
    }
    let second = call(&client, "pid", json!({})).await.unwrap();
    assert_ne!(first, second);
    let status = bench.status("a");
    assert_eq!((status.restarts, status.state.as_str()), (1, "ready"));
    assert!(status.last_error.unwrap().contains("going down"));
    bench.gateway.stop().await;
    assert!(!is_alive(&first) && !is_alive(&second));
}

#[tokio::test]
async fn a_crash_loop_rests_and_costs_nobody_else() {
    let bench = Bench::new(json!({
        "good": unruly(&[], json!({})),
        "bad": unruly(&["--broken"], json!({ "restarts_max": 2 })),
        "absent": { "command": "no-such-program-anywhere", "andon": { "restarts_max": 1 } },
    }));
    let client = bench.client(MODERN).await;
    until(|| async { ["bad", "absent"].iter().all(|name| bench.status(name).state == "parked") }).await;
    assert!(bench.status("bad").last_error.unwrap().contains("there is no database"));
    assert!(bench.status("absent").last_error.unwrap().contains("cannot be started"));
    assert!(tools(&client).await.iter().all(|name| name.starts_with("good__")));
    let list = client.request("tools/list", Map::new(), Options::default()).await.unwrap();
    let list: Value = list.parse().unwrap();
    let missing = &list["_meta"]["andon.dev/missing"];
    assert_eq!((&missing[0]["server"], &missing[0]["state"]), (&json!("bad"), &json!("parked")), "{missing}");
    assert_eq!(missing[1]["server"], "absent");
    assert!(missing[1]["why"].as_str().unwrap().contains("cannot be started"), "{missing}");
    assert_eq!(call(&client, "good__echo", json!({ "message": "here" })).await.unwrap(), "here");
    bench.gateway.stop().await;
}

#[tokio::test]
async fn a_reload_tries_again_what_rests() {
    let folder = tempfile::tempdir().unwrap();
    let program = folder.path().join("server").display().to_string();
    let servers = json!({ "a": { "command": program, "andon": { "restarts_max": 1 } } });
    let bench = Bench::new(servers.clone());
    until(|| async { bench.status("a").state == "parked" }).await;
    std::os::unix::fs::symlink(common::example("unruly"), &program).unwrap();
    assert_eq!(bench.gateway.reload(&bench.configure(servers)), (0, 0));
    until(|| async { bench.status("a").state == "ready" }).await;
    bench.gateway.stop().await;
}

#[tokio::test]
async fn limits_of_a_server_are_those_of_its_process() {
    let limits = json!({ "memory_mb_max": 4096, "open_files_max": 77, "processes_max": 7777 });
    let bench = Bench::new(json!({ "a": unruly(&[], limits), "b": unruly(&[], json!({})) }));
    let client = bench.client(MODERN).await;
    let mut of = Vec::new();
    for server in ["a", "b"] {
        let pid = call(&client, &format!("{server}__pid"), json!({})).await.unwrap();
        let limits = std::fs::read_to_string(format!("/proc/{pid}/limits")).unwrap();
        let words = |line: &str| line.split_whitespace().map(str::to_owned).collect::<Vec<_>>().join(" ");
        of.push(limits.lines().map(words).collect::<Vec<_>>());
    }
    let own = [
        "Max address space 4294967296 4294967296 bytes",
        "Max open files 77 77 files",
        "Max processes 7777 7777 processes",
    ];
    for limit in own.map(str::to_owned) {
        assert!(of[0].contains(&limit) && !of[1].contains(&limit), "{limit}: {of:?}");
    }
    bench.gateway.stop().await;
}

#[tokio::test]
async fn a_slow_start_holds_nobody_up_and_is_announced() {
    let bench = Bench::new(json!({
        "quick": unruly(&[], json!({})),
        "slow": unruly(&["--slow", "2500"], json!({ "list_wait_s": 0.3 })),
    }));
    let client = bench.client(LEGACY).await;
    let mut events = client.events();
    until(|| async { bench.status("quick").state == "ready" }).await;
    let begun = Instant::now();
    let listed = tools(&client).await;
    assert!(begun.elapsed() < Duration::from_secs(2), "{:?}", begun.elapsed());
    assert!(listed.contains(&"quick__echo".to_owned()) && !listed.contains(&"slow__echo".to_owned()));
    let begun = Instant::now();
    assert_eq!(call(&client, "quick__echo", json!({ "message": "now" })).await.unwrap(), "now");
    assert!(begun.elapsed() < Duration::from_secs(1), "{:?}", begun.elapsed());
    // Who names it, waits for it.
    assert_eq!(call(&client, "slow__echo", json!({ "message": "later" })).await.unwrap(), "later");
    event(&mut events, |event| matches!(event, Event::ToolsChanged)).await;
    until(|| async { tools(&client).await.contains(&"slow__echo".to_owned()) }).await;
    bench.gateway.stop().await;
}

#[tokio::test]
async fn lists_are_there_before_the_server_is() {
    let folder = tempfile::tempdir().unwrap();
    let words = folder.path().join("words");
    let servers = json!({ "a": unruly(&["--also", &words.display().to_string()], json!({})) });
    let bench = Bench::with(servers.clone(), true);
    until(|| async { bench.status("a").state == "ready" }).await;
    bench.gateway.stop().await;
    std::fs::write(&words, "--slow 1500").unwrap();
    let gateway = start(&bench.configure(servers), Some(bench.folder.path().to_owned()));
    let (client, _) = common::person(gateway.host(), LEGACY, "Ada").await;
    let begun = Instant::now();
    assert!(tools(&client).await.contains(&"echo".to_owned()));
    assert!(begun.elapsed() < Duration::from_secs(1), "{:?}", begun.elapsed());
    assert!(client.instructions().unwrap().contains("Mind the gap."), "so is what it says of itself");
    assert_eq!(call(&client, "echo", json!({ "message": "waited for" })).await.unwrap(), "waited for");
    gateway.stop().await;
}

#[tokio::test]
async fn p5_a_server_that_ignores_its_end_is_killed_with_its_group() {
    let program = common::example("unruly");
    // As launchers do it: the server is a child of what was started.
    let launched = json!({ "command": "sh", "args": ["-c", "\"$0\" --deaf; true", program] });
    let bench = Bench::new(json!({ "a": launched, "b": unruly(&["--deaf"], json!({})) }));
    let client = bench.client(LEGACY).await;
    let mut pids = Vec::new();
    for server in ["a", "b"] {
        pids.push(call(&client, &format!("{server}__pid"), json!({})).await.unwrap());
    }
    assert!(pids.iter().all(|pid| is_alive(pid)));
    bench.gateway.stop().await;
    assert!(pids.iter().all(|pid| !is_alive(pid)), "{pids:?}");
}

#[tokio::test]
async fn p6_noise_floods_and_second_answers_are_survived() {
    let bench = Bench::new(json!({ "loud": unruly(&[], json!({})), "calm": unruly(&[], json!({})) }));
    let client = bench.client(LEGACY).await;
    let calm = async {
        let mut most = Duration::ZERO;
        for _ in 0..50 {
            let begun = Instant::now();
            assert_eq!(call(&client, "calm__echo", json!({ "message": "x" })).await.unwrap(), "x");
            most = most.max(begun.elapsed());
        }
        most
    };
    let loud = async {
        assert_eq!(call(&client, "loud__garbage", json!({})).await.unwrap(), "that was garbage");
        assert_eq!(call(&client, "loud__twice", json!({})).await.unwrap(), "answer 0");
        assert_eq!(call(&client, "loud__flood", json!({})).await.unwrap(), "flooded");
        assert_eq!(call(&client, "loud__echo", json!({ "message": "still here" })).await.unwrap(), "still here");
    };
    let (most, ()) = tokio::join!(calm, loud);
    assert!(most < Duration::from_secs(2), "{most:?}");
    assert_eq!(bench.status("loud").restarts, 0);
    bench.gateway.stop().await;
}

#[tokio::test]
async fn a_server_that_does_not_answer_is_given_a_rest() {
    let bench = Bench::new(json!({
        "hung": unruly(&[], json!({ "timeout_s": 0.2, "breaker_failures": 3, "breaker_rest_s": 600 })),
        "fine": unruly(&[], json!({})),
    }));
    let client = bench.client(MODERN).await;
    for _ in 0..3 {
        let why = call(&client, "hung__never", json!({})).await.unwrap_err().to_string();
        assert!(why.contains("did not answer in time"), "{why}");
    }
    let begun = Instant::now();
    let why = call(&client, "hung__echo", json!({})).await.unwrap_err().to_string();
    assert!(why.contains("rests"), "{why}");
    assert!(begun.elapsed() < Duration::from_secs(1));
    assert_eq!(bench.status("hung").breaker, "open");
    assert_eq!(call(&client, "fine__echo", json!({ "message": "x" })).await.unwrap(), "x");
    bench.gateway.stop().await;
}

#[tokio::test]
async fn the_calls_that_one_end_takes_along_give_nobody_a_rest() {
    let bench = Bench::new(json!({ "a": unruly(&[], json!({ "breaker_failures": 5, "breaker_rest_s": 600 })) }));
    let client = bench.client(LEGACY).await;
    let pid = call(&client, "pid", json!({})).await.unwrap();
    let calls: Vec<_> = (0..8)
        .map(|_| {
            let client = client.clone();
            tokio::spawn(async move { call(&client, "wait", json!({ "ms": 60_000 })).await })
        })
        .collect();
    until(|| async { bench.status("a").in_flight == 8 }).await;
    assert!(call(&client, "crash", json!({})).await.is_err());
    for waiting in calls {
        assert!(waiting.await.unwrap().is_err());
    }
    assert_eq!((bench.status("a").failures, bench.status("a").breaker.as_str()), (9, "closed"));
    assert_ne!(call(&client, "pid", json!({})).await.unwrap(), pid);
    bench.gateway.stop().await;
}

#[tokio::test]
async fn a_server_that_was_started_again_has_no_rest_any_more() {
    let settings = json!({ "timeout_s": 0.2, "ping_interval_s": 0.2, "breaker_failures": 2, "breaker_rest_s": 600 });
    let bench = Bench::new(json!({ "a": unruly(&[], settings) }));
    let client = bench.client(LEGACY).await;
    stop(&call(&client, "pid", json!({})).await.unwrap());
    for _ in 0..2 {
        assert!(call(&client, "echo", json!({})).await.is_err());
    }
    assert_eq!(bench.status("a").breaker, "open");
    until(|| async { bench.status("a").restarts == 1 && bench.status("a").state == "ready" }).await;
    assert_eq!(call(&client, "echo", json!({ "message": "x" })).await.unwrap(), "x");
    assert_eq!(bench.status("a").breaker, "closed");
    bench.gateway.stop().await;
}

#[tokio::test]
async fn a_call_that_was_given_up_keeps_others_from_being_asked_for_a_moment_only() {
    let bench = Bench::new(json!({ "a": unruly(&[], json!({})) }));
    for revision in [MODERN, LEGACY] {
        let ((one, _), (two, asked)) = (bench.person(revision, "Ada").await, bench.person(revision, "Bob").await);
        let waiting = tokio::spawn(async move { call(&one, "wait", json!({ "ms": 60_000 })).await });
        until(|| async { bench.status("a").in_flight == 1 }).await;
        waiting.abort();
        until(|| async { bench.status("a").in_flight == 0 }).await;
        // What its server asks now may still be about the call that was given up.
        assert_eq!(call(&two, "ask", json!({ "message": "?" })).await.unwrap(), "refused", "{revision}");
        assert!(asked.lock().unwrap().is_empty(), "{revision}");
        let begun = Instant::now();
        until(|| async { call(&two, "ask", json!({ "message": "?" })).await.unwrap().contains("Bob") }).await;
        assert!(begun.elapsed() < Duration::from_secs(10), "{revision}: {:?}", begun.elapsed());
    }
    bench.gateway.stop().await;
}

#[tokio::test]
async fn a_server_that_has_not_heard_that_a_call_was_given_up_may_speak_of_it() {
    let bench = Bench::new(json!({ "a": unruly(&[], json!({})), "b": unruly(&[], json!({})) }));
    let ((one, _), (two, asked)) = (bench.person(MODERN, "Ada").await, bench.person(MODERN, "Bob").await);
    let pid = call(&one, "a__pid", json!({})).await.unwrap();
    stop(&pid);
    let asking = tokio::spawn(async move { call(&one, "a__ask", json!({ "message": "Ada?" })).await });
    until(|| async { bench.status("a").in_flight == 1 }).await;
    asking.abort();
    until(|| async { bench.status("a").in_flight == 0 }).await;
    assert_eq!(call(&two, "b__wait", json!({ "ms": 3_000 })).await.unwrap(), "waited");
    let other = tokio::spawn({
        let two = two.clone();
        async move { call(&two, "a__wait", json!({ "ms": 500 })).await }
    });
    until(|| async { bench.status("a").in_flight == 1 }).await;
    // Now it reads all of that at once, and asks about the first.
    resume(&pid);
    assert_eq!(other.await.unwrap().unwrap(), "waited");
    assert!(asked.lock().unwrap().is_empty());
    until(|| async { call(&two, "a__ask", json!({ "message": "?" })).await.unwrap().contains("Bob") }).await;
    bench.gateway.stop().await;
}

#[tokio::test]
async fn one_principal_is_one_client_of_a_server_that_many_share() {
    let bench = Bench::new(json!({ "a": unruly(&[], json!({})) }));
    let client = |subject: &str| {
        let builder = Client::builder((bench.gateway.host(), Principal::verified(subject, [])));
        let filled = || Filled::Accept(Map::from_iter([("name".to_owned(), "me".into())]));
        let builder = builder.protocol(Revision::LATEST).without_cache().on_form(move |_| async move { filled() });
        builder.connect()
    };
    let (ada, bob) = (client("ada").await.unwrap(), client("bob").await.unwrap());
    let waiting = tokio::spawn({
        let ada = ada.clone();
        async move { call(&ada, "wait", json!({ "ms": 60_000 })).await }
    });
    until(|| async { bench.status("a").in_flight == 1 }).await;
    assert_eq!(call(&ada, "ask", json!({ "message": "?" })).await.unwrap(), r#"accept {"name":"me"}"#);
    assert_eq!(call(&bob, "ask", json!({ "message": "?" })).await.unwrap(), "refused");
    waiting.abort();
    bench.gateway.stop().await;
}

#[tokio::test]
async fn a_full_server_refuses_and_others_do_not() {
    let bench = Bench::new(json!({ "a": unruly(&[], json!({ "in_flight_max": 2 })), "b": unruly(&[], json!({})) }));
    let client = bench.client(LEGACY).await;
    assert_eq!(call(&client, "a__echo", json!({ "message": "x" })).await.unwrap(), "x");
    let calls: Vec<_> = (0..2)
        .map(|_| {
            let client = client.clone();
            tokio::spawn(async move { call(&client, "a__wait", json!({ "ms": 4000 })).await })
        })
        .collect();
    until(|| async { bench.status("a").in_flight == 2 }).await;
    let why = call(&client, "a__echo", json!({})).await.unwrap_err().to_string();
    assert!(why.contains("as many calls as the server"), "{why}");
    assert_eq!(call(&client, "b__echo", json!({ "message": "x" })).await.unwrap(), "x");
    for waiting in calls {
        assert_eq!(waiting.await.unwrap().unwrap(), "waited");
    }
    bench.gateway.stop().await;
}

#[tokio::test]
async fn modes_say_who_shares_a_server() {
    let bench = Bench::new(json!({
        "shared": unruly(&[], json!({})),
        "own": unruly(&[], json!({ "mode": "session", "instances_max": 2 })),
        "mine": unruly(&[], json!({ "mode": "principal" })),
    }));
    let (one, two, three) = (bench.client(LEGACY).await, bench.client(LEGACY).await, bench.client(LEGACY).await);
    for (server, expected) in [("shared", ["1", "2"]), ("own", ["1", "1"]), ("mine", ["1", "2"])] {
        let count = format!("{server}__count");
        let counted = [call(&one, &count, json!({})).await.unwrap(), call(&two, &count, json!({})).await.unwrap()];
        assert_eq!(counted, expected, "{server}");
    }
    assert_eq!(call(&three, "shared__count", json!({})).await.unwrap(), "3");
    // What nobody uses makes room, the one that has been idle longest first; what somebody uses does not.
    let second = call(&two, "own__pid", json!({})).await.unwrap();
    assert_eq!(call(&three, "own__count", json!({})).await.unwrap(), "1");
    assert_eq!(call(&two, "own__pid", json!({})).await.unwrap(), second);
    let busy = [&two, &three].map(|client| {
        let client = client.clone();
        tokio::spawn(async move { call(&client, "own__wait", json!({ "ms": 60_000 })).await })
    });
    until(|| async { bench.status("own").in_flight == 2 }).await;
    let why = call(&one, "own__count", json!({})).await.unwrap_err().to_string();
    assert!(why.contains("as many of the server"), "{why}");
    busy.iter().for_each(tokio::task::JoinHandle::abort);
    until(|| async { call(&one, "own__count", json!({})).await.is_ok() }).await;
    bench.gateway.stop().await;
}

#[tokio::test]
async fn what_somebody_waits_for_makes_no_room() {
    let settings = json!({ "mode": "session", "instances_max": 1, "idle_timeout_s": 0.1, "list_wait_s": 20 });
    let bench = Bench::new(json!({ "own": unruly(&["--slow", "1500"], settings) }));
    let (one, two) = (bench.client(LEGACY).await, bench.client(LEGACY).await);
    let listing = tokio::spawn(async move { tools(&one).await });
    until(|| async { bench.status("own").instances == 1 }).await;
    let why = call(&two, "echo", json!({})).await.unwrap_err().to_string();
    assert!(why.contains("as many of the server"), "{why}");
    assert!(!listing.await.unwrap().is_empty());
    until(|| async { call(&two, "pid", json!({})).await.is_ok() }).await;
    bench.gateway.stop().await;
}

#[tokio::test]
async fn a_session_of_ones_own_ends_when_it_is_idle_and_begins_again() {
    let settings = json!({ "mode": "session", "idle_timeout_s": 0.1 });
    let bench = Bench::new(json!({ "own": unruly(&[], settings) }));
    let client = bench.client(LEGACY).await;
    let first = call(&client, "pid", json!({})).await.unwrap();
    until(|| async { bench.status("own").instances == 0 }).await;
    assert!(!is_alive(&first));
    assert_ne!(call(&client, "pid", json!({})).await.unwrap(), first);
    bench.gateway.stop().await;
}

#[tokio::test]
async fn a_session_of_ones_own_ends_with_its_client() {
    let bench = Bench::new(json!({ "own": unruly(&[], json!({ "mode": "session" })) }));
    let (one, two) = (bench.client(LEGACY).await, bench.client(LEGACY).await);
    let first = call(&one, "pid", json!({})).await.unwrap();
    let second = call(&two, "pid", json!({})).await.unwrap();
    assert_eq!(bench.status("own").instances, 2);
    one.close().await;
    until(|| async { bench.status("own").instances == 1 && !is_alive(&first) }).await;
    assert_eq!(call(&two, "pid", json!({})).await.unwrap(), second, "that of another session goes on");
    bench.gateway.stop().await;
}

#[tokio::test]
async fn changed_roots_reach_the_servers_that_a_session_uses() {
    let root = |name: &str| Root { uri: format!("file:///{name}"), name: None };
    let bench = Bench::new(json!({
        "own": unruly(&[], json!({ "mode": "session" })), "all": unruly(&[], json!({ "mode": "shared" })),
    }));
    let connect = || {
        let builder = Client::builder((bench.gateway.host(), Principal::anonymous()));
        builder.protocol(Revision::parse(LEGACY).unwrap()).without_cache().roots([root("before")]).connect()
    };
    let (one, two) = (connect().await.unwrap(), connect().await.unwrap());
    for client in [&one, &two] {
        assert_eq!(call(client, "own__roots", json!({})).await.unwrap(), "none");
    }
    for name in ["then", "after"] {
        one.set_roots([root(name)]).await.unwrap();
        let roots = call(&one, "own__roots", json!({})).await.unwrap();
        assert!(roots.contains(&root(name).uri), "the call waits until its server has heard: {roots}");
    }
    assert_eq!(call(&two, "own__roots", json!({})).await.unwrap(), "none", "it is not about the other session");
    // A server that all share is told while the session has a call open there, which is who can be asked.
    let open = tokio::spawn({
        let client = one.clone();
        async move { call(&client, "all__wait", json!({ "ms": 60_000 })).await }
    });
    until(|| async { bench.status("all").in_flight == 1 }).await;
    two.set_roots([root("of two")]).await.unwrap();
    one.set_roots([root("later")]).await.unwrap();
    until(|| async { call(&one, "all__roots", json!({})).await.unwrap().contains("file:///later") }).await;
    open.abort();
    bench.gateway.stop().await;
}

#[tokio::test]
async fn a_call_waits_for_the_roots_that_changed_before_it() {
    let bench = Bench::new(json!({ "own": unruly(&[], json!({ "mode": "session" })) }));
    let capabilities = ClientCapabilities { roots: Some(Map::new()), ..ClientCapabilities::default() };
    let gate = Arc::new(watch::Sender::new(Some("early")));
    let answers = gate.clone();
    let one = Client::builder((bench.gateway.host(), Principal::anonymous()))
        .protocol(Revision::parse(LEGACY).unwrap())
        .on_question(capabilities, move |_| {
            let mut gate = answers.subscribe();
            async move {
                let name = gate.wait_for(Option::is_some).await.unwrap().unwrap();
                Ok(json!({ "roots": [{ "uri": format!("file:///{name}") }] }))
            }
        });
    let (one, two) = (one.connect().await.unwrap(), bench.client(LEGACY).await);
    for client in [&one, &two] {
        call(client, "echo", json!({})).await.unwrap();
    }
    gate.send_replace(None);
    one.notify("notifications/roots/list_changed", Map::new()).await.unwrap();
    let calling = tokio::spawn(async move {
        let roots = call(&one, "roots", json!({})).await;
        (one, roots)
    });
    // Its server would have answered by now, and nobody could be asked any more.
    for _ in 0..10 {
        call(&two, "echo", json!({})).await.unwrap();
    }
    assert!(!calling.is_finished());
    gate.send_replace(Some("late"));
    let (one, roots) = calling.await.unwrap();
    assert!(roots.unwrap().contains("file:///late\""));
    // Another call than the one that was asked, which is over before it is answered.
    let open = tokio::spawn({
        let one = one.clone();
        async move { call(&one, "wait", json!({ "ms": 300 })).await }
    });
    until(|| async { bench.status("own").in_flight == 1 }).await;
    gate.send_replace(None);
    one.notify("notifications/roots/list_changed", Map::new()).await.unwrap();
    assert_eq!(open.await.unwrap().unwrap(), "waited");
    gate.send_replace(Some("later"));
    assert!(call(&one, "roots", json!({})).await.unwrap().contains("file:///later"));
    bench.gateway.stop().await;
}

#[tokio::test]
async fn new_tools_are_announced() {
    let bench = Bench::new(json!({ "a": unruly(&[], json!({})) }));
    for revision in [LEGACY, MODERN] {
        let client = bench.client(revision).await;
        let before = tools(&client).await.len();
        let mut listening = client.listen(andon_client::Listen::lists()).await.unwrap();
        call(&client, "grow", json!({})).await.unwrap();
        let heard = async { while !matches!(listening.next().await, Some(Event::ToolsChanged)) {} };
        tokio::time::timeout(SOON, heard).await.expect("it is announced");
        assert_eq!(tools(&client).await.len(), before + 1, "{revision}");
    }
    bench.gateway.stop().await;
}

#[tokio::test]
async fn a_list_that_could_not_be_read_once_is_read_again() {
    let bench = Bench::new(json!({ "a": unruly(&[], json!({})) }));
    let client = bench.client(LEGACY).await;
    assert!(!tools(&client).await.contains(&"grown0".to_owned()));
    call(&client, "grow", json!({ "torn": true })).await.unwrap();
    until(|| async {
        let known = tools(&client).await;
        assert!(known.contains(&"echo".to_owned()), "what is known stays");
        known.contains(&"grown0".to_owned())
    })
    .await;
    bench.gateway.stop().await;
}

#[tokio::test]
async fn what_may_be_called_twice_is_called_again_if_one_wants() {
    for (retry, is_repeated) in [("never", false), ("idempotent", true)] {
        let bench = Bench::new(json!({ "a": unruly(&[], json!({ "retry": retry })) }));
        let client = bench.client(MODERN).await;
        let mark = bench.folder.path().join("mark").display().to_string();
        let outcome = call(&client, "flaky", json!({ "mark": mark })).await;
        assert_eq!(outcome.is_ok(), is_repeated, "{retry}: {outcome:?}");
        bench.gateway.stop().await;
    }
}

/// As servers that offer both eras do, and whose tools were written for the earlier one.
#[tokio::test]
async fn a_server_that_can_ask_in_one_of_its_eras_only_is_spoken_to_in_that() {
    let pinned = unruly(&["--both"], json!({ "protocol": "2026-07-28" }));
    let bench = Bench::new(json!({ "both": unruly(&["--both"], json!({})), "pinned": pinned }));
    for revision in ["2025-11-25", "2026-07-28"] {
        let client = bench.client(revision).await;
        let said = call(&client, "both__ask", json!({ "message": "who?" })).await.unwrap();
        assert_eq!(said, "accept {\"name\":\"Ada\"}", "{revision}");
        let error = call(&client, "pinned__ask", json!({ "message": "who?" })).await.unwrap_err().to_string();
        assert!(error.contains("back-channel") && error.contains("\"protocol\": \"2025-11-25\""), "{error}");
    }
    bench.gateway.stop().await;
}
