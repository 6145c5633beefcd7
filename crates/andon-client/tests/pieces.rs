//! Answers that come in pieces, over real sockets.

mod common;

use andon_client::Client;
use common::{server, told};
use serde_json::json;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};

/// Hands requests on to the server at `behind` as they come, and its answers in pieces of `size` bytes.
async fn cutting(behind: String, size: usize) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let address = listener.local_addr().expect("bound");
    tokio::spawn(async move {
        loop {
            let (client, _) = listener.accept().await.expect("a client");
            client.set_nodelay(true).expect("a socket");
            let behind = behind.clone();
            tokio::spawn(async move {
                let mut server = TcpStream::connect(behind).await.expect("a server");
                let (mut input, mut output) = client.into_split();
                let (mut answers, mut requests) = server.split();
                let cut = async {
                    let mut bytes = [0; 1024];
                    while let Ok(count @ 1..) = answers.read(&mut bytes).await {
                        for piece in bytes[..count].chunks(size) {
                            if output.write_all(piece).await.is_err() {
                                return;
                            }
                        }
                    }
                };
                tokio::select! {
                    _ = tokio::io::copy(&mut input, &mut requests) => {}
                    () = cut => {}
                }
            });
        }
    });
    format!("http://{address}/mcp")
}

#[tokio::test]
async fn answers_are_put_together_however_they_are_cut() {
    let url = common::serve(server(&told()).build().expect("a good server"));
    let behind = url.trim_start_matches("http://").trim_end_matches("/mcp").to_owned();
    for size in [1, 7, 100] {
        let client = Client::connect(cutting(behind.clone(), size).await.as_str()).await.expect("connects");
        for number in 0..20 {
            let sum: i64 = client.call("add", json!({ "a": number, "b": 2 })).await.expect("adds");
            assert_eq!(sum, number + 2, "in pieces of {size}");
        }
        assert_eq!(client.figures().connections(), 1, "it is used again and again");
    }
}
