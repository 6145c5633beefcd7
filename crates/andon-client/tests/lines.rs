//! What a server says in lines, and what becomes of calls whose answer cannot be read.

use std::time::Duration;

use andon_client::{Client, Error, Options};
use andon_types::revision::Revision;
use serde_json::{Map, Value, json};
use tokio::io::{AsyncBufReadExt as _, AsyncWriteExt as _, BufReader, Lines};
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{TcpListener, TcpStream};

const BYTES_MAX: usize = 10_000;
/// Nothing here may take as long as a call may.
const AT_ONCE: Duration = Duration::from_secs(30);

/// The other end of the socket, in the hands of the test.
struct Peer {
    lines: Lines<BufReader<OwnedReadHalf>>,
    output: OwnedWriteHalf,
}

impl Peer {
    fn new(socket: TcpStream) -> Self {
        let (input, output) = socket.into_split();
        Self { lines: BufReader::new(input).lines(), output }
    }

    /// The next message of this method; others before it do not matter.
    async fn hears(&mut self, method: &str) -> Value {
        let hearing = async {
            while let Some(line) = self.lines.next_line().await.expect("a line") {
                let message: Value = serde_json::from_str(&line).expect("JSON");
                if message["method"] == method {
                    return message;
                }
            }
            panic!("{method} never came");
        };
        tokio::time::timeout(AT_ONCE, hearing).await.expect("in time")
    }

    async fn says(&mut self, line: &str) {
        self.output.write_all(line.as_bytes()).await.expect("written");
        self.output.write_all(b"\n").await.expect("written");
    }

    async fn answers(&mut self, id: &Value, result: Value) {
        self.says(&json!({ "jsonrpc": "2.0", "id": id, "result": result }).to_string()).await;
    }
}

async fn connected() -> (Client, Peer) {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let url = format!("tcp://{}", listener.local_addr().expect("bound"));
    let builder = Client::builder(url).protocol(Revision::LATEST_LEGACY).message_bytes_max(BYTES_MAX);
    let serving = async {
        let mut peer = Peer::new(listener.accept().await.expect("a client").0);
        let id = peer.hears("initialize").await["id"].clone();
        let info = json!({ "name": "peer", "version": "1" });
        let opened = json!({ "protocolVersion": "2025-11-25", "capabilities": { "tools": {} }, "serverInfo": info });
        peer.answers(&id, opened).await;
        peer
    };
    let (client, peer) = tokio::join!(builder.connect(), serving);
    (client.expect("connects"), peer)
}

/// A call that may take an hour.
async fn call(client: &Client) -> Result<String, Error> {
    let options = Options::default().timeout(Duration::from_secs(3600)).timeout_max(Duration::from_secs(3600));
    let calling = client.call_tool("x", Map::new(), options);
    let outcome = tokio::time::timeout(AT_ONCE, calling).await.expect("it ends at once");
    outcome.map(|result| format!("{:?}", result.content))
}

fn done() -> Value {
    json!({ "content": [{ "type": "text", "text": "done" }] })
}

fn long() -> String {
    "x".repeat(2 * BYTES_MAX)
}

fn is_too_long(outcome: &Result<String, Error>) -> bool {
    outcome.as_ref().is_err_and(|error| error.to_string().contains("longer than 10000 bytes"))
}

#[tokio::test]
async fn an_answer_that_is_too_long_ends_its_call_at_once_and_no_other() {
    let (client, mut peer) = connected().await;
    let serving = async {
        let ids = [peer.hears("tools/call").await["id"].clone(), peer.hears("tools/call").await["id"].clone()];
        peer.says(&format!(r#"{{"jsonrpc":"2.0","id":{},"result":{{"content":"{}"}}}}"#, ids[0], long())).await;
        peer.answers(&ids[1], done()).await;
    };
    let (first, second, ()) = tokio::join!(call(&client), call(&client), serving);
    assert!(is_too_long(&first), "{first:?}");
    assert!(second.is_ok_and(|text| text.contains("done")));
}

#[tokio::test]
async fn without_an_id_the_only_call_is_meant() {
    let (client, mut peer) = connected().await;
    let serving = async {
        let id = peer.hears("tools/call").await["id"].clone();
        peer.says(&format!(r#"{{"result":{{"content":"{}"}},"id":{id},"jsonrpc":"2.0"}}"#, long())).await;
    };
    let (outcome, ()) = tokio::join!(call(&client), serving);
    assert!(is_too_long(&outcome), "{outcome:?}");
}

#[tokio::test]
async fn without_an_id_all_calls_may_be_meant_and_the_next_one_works() {
    let (client, mut peer) = connected().await;
    let serving = async {
        peer.hears("tools/call").await;
        let id = peer.hears("tools/call").await["id"].clone();
        peer.says(&format!(r#"{{"result":{{"content":"{}"}},"id":{id}}}"#, long())).await;
        // Whichever of them is still at work need not be.
        peer.hears("notifications/cancelled").await;
        peer.hears("notifications/cancelled").await;
    };
    let (first, second, ()) = tokio::join!(call(&client), call(&client), serving);
    assert!(is_too_long(&first) && is_too_long(&second), "{first:?} {second:?}");
    let serving = async {
        let id = peer.hears("tools/call").await["id"].clone();
        peer.answers(&id, done()).await;
    };
    assert!(tokio::join!(call(&client), serving).0.is_ok());
}

#[tokio::test]
async fn long_lines_that_answer_nobody_end_no_call() {
    let (client, mut peer) = connected().await;
    let serving = async {
        let id = peer.hears("tools/call").await["id"].clone();
        let notification = format!(r#"{{"jsonrpc":"2.0","method":"notifications/message","params":"{}"}}"#, long());
        // The second was given up long ago, and the third is no message at all.
        let stale = format!(r#"{{"jsonrpc":"2.0","id":987654,"result":"{}"}}"#, long());
        for line in [notification, stale, long(), "listening".to_owned(), "{".to_owned()] {
            peer.says(&line).await;
        }
        peer.answers(&id, done()).await;
    };
    assert!(tokio::join!(call(&client), serving).0.is_ok());
}

#[tokio::test]
async fn an_answer_that_is_no_message_ends_its_call_at_once() {
    let (client, mut peer) = connected().await;
    for rest in [r#""result":{"#, r#""result":{},"result":{}}"#, r#""result":tru}"#] {
        let serving = async {
            let id = peer.hears("tools/call").await["id"].clone();
            peer.says(&format!(r#"{{"jsonrpc":"2.0","id":{id},{rest}"#)).await;
        };
        let (outcome, ()) = tokio::join!(call(&client), serving);
        let error = outcome.expect_err("it cannot be read").to_string();
        assert!(error.contains("the server's answer is no message"), "{rest}: {error}");
    }
}
