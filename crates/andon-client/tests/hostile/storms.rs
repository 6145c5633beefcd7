//! Legacy servers that speak unasked, and too much.

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use andon_client::{Client, Error, Event, Filled, Options};
use serde_json::{Map, Value, json};
use tokio::io::AsyncWriteExt as _;
use tokio::net::{TcpListener, TcpStream};

use super::peer::{Asked, LEGACY, answer, call, client, read, result, serve, well};

const EVENTS: &str = "HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n\r\n";

fn event(message: &Value) -> String {
    format!("data: {message}\n\n")
}

fn done(asked: &Asked) -> String {
    event(&json!({ "jsonrpc": "2.0", "id": asked.body["id"], "result": { "content": [] } }))
}

/// What a client said of itself in answers to a server, by the server's id.
type Replies = Arc<Mutex<Vec<Value>>>;

/// A server that streams `storm` before it answers a call, and keeps the client's replies.
async fn storming(storm: impl Fn(&Asked) -> String + Send + Sync + 'static) -> (String, Replies) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}/mcp", listener.local_addr().unwrap());
    let (replies, storm) = (Replies::default(), Arc::new(storm));
    let kept = replies.clone();
    tokio::spawn(async move {
        loop {
            let (mut socket, _) = listener.accept().await.unwrap();
            let (replies, storm) = (replies.clone(), storm.clone());
            tokio::spawn(async move {
                while let Some(asked) = read(&mut socket).await {
                    let bytes = match asked.method() {
                        "tools/call" => {
                            let body = format!("{}{}", storm(&asked), done(&asked));
                            answer("200 OK", "Content-Type: text/event-stream\r\n", &body)
                        }
                        "" if asked.verb == "POST" => {
                            replies.lock().unwrap().push(asked.body);
                            answer("202 Accepted", "", "")
                        }
                        _ => well(&asked).unwrap_or_default(),
                    };
                    drop(socket.write_all(&bytes).await);
                }
            });
        }
    });
    (url, kept)
}

/// The replies, as soon as there are `count`.
async fn all(replies: &Replies, count: usize) -> Vec<Value> {
    let waited = tokio::time::timeout(Duration::from_secs(20), async {
        while replies.lock().unwrap().len() < count {
            tokio::task::yield_now().await;
        }
    });
    waited.await.expect("every question is answered");
    replies.lock().unwrap().clone()
}

#[tokio::test]
async fn a_storm_of_questions_is_answered_with_errors() {
    const ASKED: usize = 200;
    let (url, replies) = storming(|_| {
        let params = json!({ "message": "?", "requestedSchema": { "type": "object", "properties": {} } });
        let ask = |id| json!({ "jsonrpc": "2.0", "id": id, "method": "elicitation/create", "params": params.clone() });
        (0..ASKED).map(|id| event(&ask(id))).collect()
    })
    .await;
    let asked = Arc::new(AtomicUsize::new(0));
    let counted = asked.clone();
    let builder = Client::builder(url.as_str()).protocol(LEGACY).on_form(move |_| {
        counted.fetch_add(1, Ordering::Relaxed);
        std::future::pending::<Filled>()
    });
    let client = builder.connect().await.unwrap();
    assert_eq!(call(&client).await, Ok("[]".to_owned()));
    // The person sees a few; of the others the server hears that there are too many.
    let replies = all(&replies, ASKED - 16).await;
    assert!(asked.load(Ordering::Relaxed) <= 16);
    assert!(replies.iter().all(|reply| reply["error"]["message"].as_str().unwrap().contains("too many")));
    assert_eq!(call(&client).await, Ok("[]".to_owned()), "the next call works");
}

#[tokio::test]
async fn what_was_not_declared_is_refused_and_what_is_foreign_is_ignored() {
    let (url, replies) = storming(|_| {
        [
            json!({ "jsonrpc": "2.0", "id": "a", "method": "sampling/createMessage", "params": { "messages": [] } }),
            json!({ "jsonrpc": "2.0", "id": "b", "method": "roots/list" }),
            json!({ "jsonrpc": "2.0", "id": "c", "method": "tools/list" }),
            json!({ "jsonrpc": "2.0", "id": "d", "method": "elicitation/create", "params": 5 }),
            json!({ "jsonrpc": "2.0", "method": "notifications/cancelled", "params": { "requestId": 1 } }),
            json!({ "jsonrpc": "2.0", "method": "notifications/cancelled", "params": { "requestId": "zzz" } }),
            json!({ "jsonrpc": "2.0", "method": "notifications/cancelled" }),
            json!({ "jsonrpc": "2.0", "method": "notifications/progress", "params": { "progressToken": 99, "progress": 1 } }),
            json!({ "jsonrpc": "2.0", "id": 12_345, "result": {} }),
            json!({ "jsonrpc": "2.0", "id": null, "error": { "code": -32_600, "message": "?" } }),
        ]
        .iter()
        .map(event)
        .collect()
    })
    .await;
    let client = client(&url, LEGACY).await;
    assert_eq!(call(&client).await, Ok("[]".to_owned()));
    let replies = all(&replies, 3).await;
    for id in ["a", "b", "c"] {
        let reply = replies.iter().find(|reply| reply["id"] == id).expect("a reply");
        assert_eq!(reply["error"]["code"], -32_601, "{reply}");
    }
}

/// It pings without end and never takes an answer.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn answers_that_nobody_takes_do_not_pile_up() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}/mcp", listener.local_addr().unwrap());
    let (held, pinged) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
    let (holding, pinging) = (held.clone(), pinged.clone());
    tokio::spawn(async move {
        loop {
            let (socket, _) = listener.accept().await.unwrap();
            tokio::spawn(ping_on(socket, holding.clone(), pinging.clone()));
        }
    });
    let client = client(&url, LEGACY).await;
    let options = Options::default().timeout(Duration::from_secs(2));
    let outcome = client.call_tool("x", Map::new(), options).await;
    assert!(matches!(outcome, Err(Error::TimedOut)), "{outcome:?}");
    assert!(pinged.load(Ordering::Relaxed) > 100, "it pinged {} times", pinged.load(Ordering::Relaxed));
    let held = held.load(Ordering::Relaxed);
    assert!(held <= 16, "{held} requests at once");
}

async fn ping_on(mut socket: TcpStream, held: Arc<AtomicUsize>, pinged: Arc<AtomicUsize>) {
    while let Some(asked) = read(&mut socket).await {
        match (asked.method(), well(&asked)) {
            ("tools/call", _) => {
                drop(socket.write_all(EVENTS.as_bytes()).await);
                let ping = |id| event(&json!({ "jsonrpc": "2.0", "id": id, "method": "ping" }));
                while socket.write_all(ping(pinged.fetch_add(1, Ordering::Relaxed)).as_bytes()).await.is_ok() {
                    tokio::task::yield_now().await;
                }
            }
            ("", None) => {
                held.fetch_add(1, Ordering::Relaxed);
                // Until the client goes.
                drop(read(&mut socket).await);
            }
            (_, bytes) => drop(socket.write_all(&bytes.unwrap_or_default()).await),
        }
    }
}

#[tokio::test]
async fn a_server_that_does_not_take_notifications_does_not_hold_up_who_connects() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}/mcp", listener.local_addr().unwrap());
    tokio::spawn(async move {
        loop {
            let (mut socket, _) = listener.accept().await.unwrap();
            tokio::spawn(async move {
                while let Some(asked) = read(&mut socket).await {
                    match asked.method() {
                        "notifications/initialized" => drop(read(&mut socket).await),
                        _ => drop(socket.write_all(&well(&asked).unwrap_or_default()).await),
                    }
                }
            });
        }
    });
    let connecting = Client::builder(url.as_str()).protocol(LEGACY).connect();
    tokio::time::timeout(Duration::from_secs(30), connecting).await.expect("no hang").expect("it is open");
}

/// What a server says when it is opened: `initialize` gets this result, with these headers.
async fn opening(opened: Value, headers: &'static str) -> Result<Client, Error> {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}/mcp", listener.local_addr().unwrap());
    tokio::spawn(async move {
        loop {
            let (mut socket, _) = listener.accept().await.unwrap();
            let opened = opened.clone();
            tokio::spawn(async move {
                while let Some(asked) = read(&mut socket).await {
                    let bytes = match asked.method() {
                        "initialize" => {
                            let body = json!({ "jsonrpc": "2.0", "id": asked.body["id"], "result": opened });
                            let headers = format!("Content-Type: application/json\r\n{headers}");
                            answer("200 OK", &headers, &body.to_string())
                        }
                        _ => well(&asked).unwrap_or_default(),
                    };
                    drop(socket.write_all(&bytes).await);
                }
            });
        }
    });
    let connecting = Client::builder(url.as_str()).protocol(LEGACY).connect();
    tokio::time::timeout(Duration::from_secs(20), connecting).await.expect("opening ends")
}

#[tokio::test]
async fn an_opening_that_makes_no_sense_is_told_in_words() {
    let good = json!({ "protocolVersion": LEGACY.as_str(), "capabilities": {}, "serverInfo": { "name": "x", "version": "1" } });
    let mut from_the_future = good.clone();
    from_the_future["protocolVersion"] = "2999-01-01".into();
    let mut without = good.clone();
    without.as_object_mut().unwrap().remove("protocolVersion");
    for (opened, headers, told) in [
        (from_the_future, "", "2999-01-01"),
        (without, "", "protocolVersion"),
        (json!(null), "", ""),
        (json!({}), "", ""),
        (good.clone(), "Mcp-Session-Id: with space\r\n", "visible ASCII"),
        (good.clone(), "Mcp-Session-Id: caf\u{e9}\r\n", "visible ASCII"),
        (good.clone(), "Mcp-Session-Id: \r\n", "visible ASCII"),
    ] {
        let shown = format!("{opened} {headers:?}");
        let error = opening(opened, headers).await.expect_err(&shown).to_string();
        assert!(error.contains(told), "{shown}: {error}");
        assert!(error.len() < 1_000, "{shown}: {error}");
    }
    let client = opening(good, "Mcp-Session-Id: fine\r\n").await.expect("it is open");
    client.close().await;
}

#[tokio::test]
async fn a_server_that_closes_after_each_byte_is_left() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}/mcp", listener.local_addr().unwrap());
    let accepted = Arc::new(AtomicUsize::new(0));
    let counted = accepted.clone();
    tokio::spawn(async move {
        let bytes = b"HTTP/1.1 200 OK\r\n";
        loop {
            let (mut socket, _) = listener.accept().await.unwrap();
            let number = counted.fetch_add(1, Ordering::Relaxed);
            drop(read(&mut socket).await);
            drop(socket.write_all(&bytes[number % bytes.len()..][..1]).await);
        }
    });
    let connecting = Client::connect(url.as_str());
    let error =
        tokio::time::timeout(Duration::from_secs(30), connecting).await.expect("it ends").expect_err("no answer");
    assert!(error.to_string().contains("hung up"), "{error}");
    assert!(accepted.load(Ordering::Relaxed) < 20, "it came again and again");
}

/// One event of 100 MB, with the limits that everybody has.
#[tokio::test]
async fn a_huge_event_costs_no_more_than_the_limit() {
    let sent = Arc::new(AtomicUsize::new(0));
    let counted = sent.clone();
    let url = serve(move |_, mut socket| {
        let sent = counted.clone();
        async move {
            drop(socket.write_all(format!("{EVENTS}data: ").as_bytes()).await);
            let piece = vec![b'x'; 1 << 16];
            while sent.load(Ordering::Relaxed) < 100 << 20 && socket.write_all(&piece).await.is_ok() {
                sent.fetch_add(piece.len(), Ordering::Relaxed);
            }
        }
    })
    .await;
    let error = call(&client(&url, LEGACY).await).await.expect_err("too large");
    assert!(error.contains("larger than"), "{error}");
    assert!(sent.load(Ordering::Relaxed) < 64 << 20, "it was read on and on");
}

/// The standing stream ends as soon as it has begun, each time with a new id, and asks to come again at once.
#[tokio::test]
async fn a_stream_that_is_asked_for_again_at_once_is_not_asked_for_without_a_pause() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}/mcp", listener.local_addr().unwrap());
    let (stood, over) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicBool::new(false)));
    let (counted, ended) = (stood.clone(), over.clone());
    tokio::spawn(async move {
        while !ended.load(Ordering::Relaxed) {
            let (mut socket, _) = listener.accept().await.unwrap();
            let stood = counted.clone();
            tokio::spawn(async move {
                while let Some(asked) = read(&mut socket).await {
                    let bytes = match asked.verb.as_str() {
                        "GET" => {
                            let number = stood.fetch_add(1, Ordering::Relaxed);
                            let body = format!("id: {number}\nretry: 0\ndata:\n\n");
                            answer("200 OK", "Content-Type: text/event-stream\r\n", &body)
                        }
                        _ => match well(&asked) {
                            Some(bytes) => bytes,
                            None => result(&asked, json!({ "content": [] })),
                        },
                    };
                    drop(socket.write_all(&bytes).await);
                }
            });
        }
    });
    let client = client(&url, LEGACY).await;
    let mut events = client.events();
    let quiet = tokio::time::timeout(Duration::from_secs(1), events.next()).await;
    assert!(!matches!(quiet, Ok(Some(Event::Disconnected(_)))), "{quiet:?}");
    assert_eq!(call(&client).await, Ok("[]".to_owned()));
    over.store(true, Ordering::Relaxed);
    assert!(stood.load(Ordering::Relaxed) <= 60, "{} times in a second", stood.load(Ordering::Relaxed));
}
