//! Servers that crash, hang, flood and answer garbage, ten at a time, under a hundred clients of both eras: others are not
//! held up, nothing crosses, and no process is left.
#![cfg(target_os = "linux")]
#![allow(clippy::unwrap_used, reason = "a failed unwrap is a failed test")]

mod common;

use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use common::{Bench, call, is_alive, unruly, until};
use serde_json::{Map, Value, json};

const BAD: usize = 10;
const CLIENTS: usize = 100;
const CALLS: usize = 15;
/// Of a call to a server that is well, whatever the others do: far above what it takes, far below any timeout.
const FINE: Duration = Duration::from_secs(3);

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn bad_servers_cost_nobody_else() {
    let mut servers = Map::new();
    servers.insert("good".to_owned(), unruly(&[], json!({ "in_flight_max": 1000 })));
    for number in 0..BAD {
        let settings = json!({ "timeout_s": 0.5, "restarts_max": 1000, "breaker_rest_s": 0.3, "in_flight_max": 1000 });
        servers.insert(format!("bad{number}"), unruly(&[], settings));
    }
    let bench = Bench::new(Value::Object(servers));
    until(|| async { bench.gateway.status().iter().all(|status| status.state == "ready") }).await;
    let good = call(&bench.client("2025-11-25").await, "good__pid", json!({})).await.unwrap();
    let answered = AtomicUsize::new(0);
    let people = (0..CLIENTS).map(|number| client(&bench, number, &answered));
    let slowest: Vec<Vec<Duration>> = futures_util::future::join_all(people).await;
    let mut took: Vec<Duration> = slowest.into_iter().flatten().collect();
    took.sort();
    let p99 = took[took.len() * 99 / 100];
    println!("{} calls of the good server, p50 {:?}, p99 {p99:?}", took.len(), took[took.len() / 2]);
    assert!(p99 < FINE, "{p99:?}");
    assert!(answered.load(Ordering::SeqCst) > 0, "the bad ones come back in between");
    let status = bench.gateway.status();
    assert_eq!(status[0].restarts, 0);
    assert!(status[1..].iter().map(|status| status.restarts).sum::<u64>() > 0, "they did crash");
    assert!(status.iter().all(|status| status.in_flight == 0), "nothing is left in flight");
    // They are well again when nobody harms them.
    let client = bench.client("2026-07-28").await;
    for number in 0..BAD {
        let echo = format!("bad{number}__echo");
        until(|| async { call(&client, &echo, json!({ "message": "well" })).await.is_ok_and(|text| text == "well") })
            .await;
    }
    assert_eq!(call(&client, "good__pid", json!({})).await.unwrap(), good);
    let mut pids = vec![good];
    for number in 0..BAD {
        pids.push(call(&client, &format!("bad{number}__pid"), json!({})).await.unwrap());
    }
    bench.gateway.stop().await;
    assert!(pids.iter().all(|pid| !is_alive(pid)), "{pids:?}");
}

/// One client: harms a server, and uses the good one in between. How long those calls took.
async fn client(bench: &Bench, number: usize, answered: &AtomicUsize) -> Vec<Duration> {
    const HARM: [&str; 6] = ["crash", "garbage", "twice", "never", "flood", "echo"];
    let client = bench.client(if number.is_multiple_of(2) { "2025-11-25" } else { "2026-07-28" }).await;
    let mut took = Vec::new();
    for turn in 0..CALLS {
        let own = format!("client {number}, turn {turn}");
        let begun = Instant::now();
        assert_eq!(call(&client, "good__echo", json!({ "message": own })).await.unwrap(), own);
        took.push(begun.elapsed());
        // A flood is a hundred times as much as the rest together.
        let harm = HARM[(number * 7 + turn) % HARM.len()];
        let harm = if harm == "flood" && !(number + turn).is_multiple_of(25) { "echo" } else { harm };
        let server = format!("bad{}", (number + turn) % BAD);
        let outcome = call(&client, &format!("{server}__{harm}"), json!({ "message": own })).await;
        match (harm, outcome) {
            ("echo", Ok(text)) => {
                assert_eq!(text, own, "an answer of somebody else");
                answered.fetch_add(1, Ordering::SeqCst);
            }
            ("crash" | "never", Ok(text)) => panic!("{harm} has no answer: {text}"),
            (_, Ok(_)) => {}
            // Whatever went wrong, it was this server, and that is said.
            (_, Err(error)) => assert!(error.to_string().contains(&server), "{error}"),
        }
    }
    took
}
