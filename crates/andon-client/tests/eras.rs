//! One client, every revision, over every transport.

mod common;

use std::sync::{Arc, Mutex};
use std::time::Duration;

use andon_client::{Client, Error, Event, Filled, Listen, Options, Target};
use andon_types::capability::ClientCapabilities;
use andon_types::message::Json;
use andon_types::revision::{Era, Revision};
use common::{serve, server, told};
use serde_json::{Map, Value, json};

fn object(value: Value) -> Map<String, Value> {
    match value {
        Value::Object(map) => map,
        _ => unreachable!("an object literal"),
    }
}

async fn use_everything(target: impl Into<Target>, revision: Option<Revision>) {
    let mut builder = Client::builder(target).on_form(|form| async move {
        assert_eq!(form.message, "Who is there?");
        Filled::Accept(object(json!({ "name": "Ann" })))
    });
    if let Some(revision) = revision {
        builder = builder.protocol(revision);
    }
    let client = builder.connect().await.expect("connects");
    assert_eq!(client.revision(), Some(revision.unwrap_or(Revision::LATEST)));
    assert_eq!(client.server_info().expect("a name").name, "fixture");

    let tools = client.tools().await.expect("lists");
    assert_eq!(tools.len(), 5);
    assert_eq!(client.call::<i64>("add", json!({ "a": 1, "b": 2 })).await.expect("adds"), 3);
    let failed = client.call::<i64>("add", json!({ "a": "one" })).await;
    assert!(matches!(failed, Err(Error::Tool(_) | Error::Protocol(_))), "{failed:?}");

    let reports = Arc::new(Mutex::new(Vec::new()));
    let heard = reports.clone();
    let options = Options::default().on_progress(move |report| heard.lock().expect("no panic").push(report.progress));
    client.call_tool("steps", object(json!({ "count": 3 })), options).await.expect("steps");
    let reports = reports.lock().expect("no panic").clone();
    assert!(reports.is_sorted() && reports.last() == Some(&3.0), "{reports:?}");

    let rules = client.revision().expect("connected").rules();
    if rules.elicitation {
        assert_eq!(client.call::<String>("greet", json!({})).await.expect("greets"), "hello Ann");
    }
    client.ping().await.expect("answers");
    client.close().await;
    assert!(matches!(client.ping().await, Err(Error::Closed)));
}

#[tokio::test]
async fn everything_works_in_process_on_every_revision() {
    use_everything(server(&told()), None).await;
    for revision in Revision::ALL {
        use_everything(server(&told()), Some(revision)).await;
    }
}

#[tokio::test]
async fn everything_works_over_http_on_every_revision() {
    let url = serve(server(&told()).build().expect("a server"));
    use_everything(url.as_str(), None).await;
    for revision in Revision::ALL {
        use_everything(url.as_str(), Some(revision)).await;
    }
}

#[tokio::test]
async fn a_dropped_call_is_cancelled_on_the_server_in_both_eras() {
    for revision in [Revision::LATEST, Revision::LATEST_LEGACY] {
        let told = told();
        let url = serve(server(&told).build().expect("a server"));
        for target in [Target::from(url.as_str()), Target::from(server(&told))] {
            let client = Client::builder(target).protocol(revision).connect().await.expect("connects");
            let calling = client.clone();
            let call = tokio::spawn(async move { calling.call::<String>("hang", json!({})).await });
            told.begun.acquire().await.expect("open").forget();
            call.abort();
            let cancelled = tokio::time::timeout(Duration::from_secs(10), told.cancelled.acquire()).await;
            cancelled.expect("the handler hears of it").expect("open").forget();
        }
    }
}

#[tokio::test]
async fn a_call_that_takes_too_long_is_cancelled_and_says_so() {
    let told = told();
    let client = Client::connect(server(&told)).await.expect("connects");
    let options = Options::default().timeout(Duration::from_millis(50));
    let outcome = client.call_tool("hang", Map::new(), options).await;
    assert!(matches!(outcome, Err(Error::TimedOut)), "{outcome:?}");
    told.cancelled.acquire().await.expect("the handler hears of it").forget();
}

#[tokio::test]
async fn a_call_may_declare_less_than_its_client_can_do() {
    let client = Client::builder(server(&told()))
        .on_form(|_| async { Filled::Accept(object(json!({ "name": "Ann" }))) })
        .connect()
        .await
        .expect("connects");
    let nothing = ClientCapabilities::default();
    let text = Json::of(&nothing).expect("JSON");
    for less in [Options::default().capabilities(&nothing), Options::default().capabilities_text(text)] {
        let asked = client.call_tool("greet", Map::new(), less).await;
        assert!(asked.is_err() || asked.is_ok_and(|result| result.is_error), "nobody is asked who cannot be");
        assert_eq!(client.call::<String>("greet", json!({})).await.expect("greets"), "hello Ann");
    }
}

#[tokio::test]
async fn changes_of_lists_are_heard_in_both_eras() {
    for revision in [Revision::LATEST, Revision::LATEST_LEGACY] {
        let server = server(&told());
        let catalogue = server.catalogue();
        let host = server.build().expect("a server");
        let url = serve(host);
        let client = Client::builder(url.as_str()).protocol(revision).connect().await.expect("connects");
        let mut listening = client.listen(Listen::lists()).await.expect("listens");
        if revision.era() == Era::Legacy {
            // The standing stream is opened in its own time: a change that comes before it waits for it.
            client.ping().await.expect("answers");
        }
        assert!(catalogue.remove_tool("sum"), "it was there");
        let heard = tokio::time::timeout(Duration::from_secs(10), listening.next()).await.expect("in time");
        assert!(matches!(heard, Some(Event::ToolsChanged)), "{heard:?}");
    }
}
