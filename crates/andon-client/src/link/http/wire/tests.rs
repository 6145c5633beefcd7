use std::io::{Read as _, Write as _};
use std::net::{TcpListener, TcpStream};
use std::thread::spawn;

use http::{HeaderMap, Method};

use super::{Headers, Place, send};

/// Answers one request over a connection of its own.
fn answer(listener: &TcpListener) -> TcpStream {
    let (mut stream, _) = listener.accept().unwrap();
    let mut read = Vec::new();
    while !read.ends_with(b"\r\n\r\n") {
        let mut byte = [0];
        stream.read_exact(&mut byte).unwrap();
        read.push(byte[0]);
    }
    stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n").unwrap();
    stream
}

/// The runtime did not hear of its end, since nothing waited in between.
#[tokio::test]
async fn a_connection_that_was_closed_is_not_used_for_what_is_not_to_be_done_twice() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let place = Place::of(&format!("http://{}/", listener.local_addr().unwrap()).parse().unwrap()).unwrap();
    let headers = Headers::new(HeaderMap::new());
    let serving = spawn(move || (answer(&listener), listener));
    assert!(send(&Method::POST, &place, &headers, b"", false).await.unwrap().is_first());
    let (closed, listener) = serving.join().unwrap();
    drop(closed);
    let serving = spawn(move || answer(&listener));
    assert!(send(&Method::POST, &place, &headers, b"", false).await.unwrap().is_first());
    serving.join().unwrap();
}
