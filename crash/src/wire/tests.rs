use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpListener;

use super::{Request, send};

/// Serves `answer` once, in pieces of `size` bytes, and hands over what was asked.
async fn serve(answer: &'static str, size: usize) -> (std::net::SocketAddr, tokio::task::JoinHandle<String>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let task = tokio::spawn(async move {
        let (mut stream, _) = listener.accept().await.unwrap();
        let mut asked = vec![0; 4096];
        let length = stream.read(&mut asked).await.unwrap();
        for piece in answer.as_bytes().chunks(size) {
            stream.write_all(piece).await.unwrap();
            stream.flush().await.unwrap();
            tokio::task::yield_now().await;
        }
        String::from_utf8_lossy(&asked[..length]).into_owned()
    });
    (address, task)
}

fn ping<'a>() -> Request<'a> {
    Request { verb: "POST", session: Some(("s", "2025-11-25")), last_event_id: None, body: "{}" }
}

#[tokio::test]
async fn a_body_with_a_length_is_read_in_any_pieces() {
    for size in [1, 7, 1000] {
        let (address, task) =
            serve("HTTP/1.1 200 OK\r\nMcp-Session-Id: x\r\ncontent-length: 5\r\n\r\nhello", size).await;
        let answer = send(address, ping()).await.unwrap();
        assert_eq!((answer.status, answer.session_id.as_deref(), answer.is_events), (200, Some("x"), false));
        assert_eq!(answer.text().await.unwrap(), "hello");
        let asked = task.await.unwrap();
        assert!(asked.contains("Mcp-Session-Id: s\r\n") && asked.ends_with("\r\n\r\n{}"), "{asked}");
    }
}

#[tokio::test]
async fn events_in_chunks_are_read_in_any_pieces_and_a_cut_is_an_error() {
    const HEAD: &str = "HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n";
    const CHUNKS: &str = "c\r\nid: 1\ndata: \r\n14\r\n\n\nid: 2\ndata: two\n\n\n\r\n";
    for (end, is_whole) in [("0\r\n\r\n", true), ("", false)] {
        let text: &'static str = format!("{HEAD}{CHUNKS}{end}").leak();
        for size in [1, 3, 1000] {
            let (address, _task) = serve(text, size).await;
            let mut events = send(address, ping()).await.unwrap().events();
            let first = events.next().await.unwrap().unwrap();
            assert_eq!((first.id.as_str(), first.data.as_str()), ("1", ""));
            let second = events.next().await.unwrap().unwrap();
            assert_eq!((second.id.as_str(), second.data.as_str()), ("2", "two"));
            assert_eq!(events.next().await.is_ok_and(|event| event.is_none()), is_whole);
        }
    }
}

#[tokio::test]
async fn nobody_there_is_told_from_a_lost_connection() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    drop(listener);
    assert_eq!(send(address, ping()).await.unwrap_err().kind(), std::io::ErrorKind::ConnectionRefused);
    let (address, _task) = serve("HTTP/1.1 200", 1000).await;
    assert_ne!(send(address, ping()).await.unwrap_err().kind(), std::io::ErrorKind::ConnectionRefused);
}
