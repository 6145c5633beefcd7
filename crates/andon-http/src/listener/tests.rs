use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::time::Duration;

use andon_server::server::Server;

use super::Http;

/// How long an answer may take.
const PATIENCE: Duration = Duration::from_secs(20);

#[test]
fn x11_those_who_come_at_once_wait_to_be_accepted() {
    // A connection for which there is no room is tried again after a second.
    const AGAIN_AFTER: Duration = Duration::from_millis(900);
    let http = Http::bind("127.0.0.1:0").unwrap();
    let waiting: Vec<_> = (0..1000).map(|_| TcpStream::connect_timeout(&http.address(), AGAIN_AFTER)).collect();
    let refused = waiting.iter().filter(|connected| connected.is_err()).count();
    assert_eq!(refused, 0, "nobody accepts yet");
}

#[test]
fn x11_those_for_whom_there_is_no_room_wait_with_what_they_asked_and_are_answered() {
    for on_thread in [false, true] {
        let http = Http::bind("127.0.0.1:0").unwrap().with_options(|options| options.connections_max = 4);
        let (address, http) = (http.address(), if on_thread { http.take_on_thread() } else { http });
        // All have asked before the first of them is accepted.
        let waiting: Vec<_> = (0..400)
            .map(|_| {
                let mut stream = TcpStream::connect(address).unwrap();
                stream.set_read_timeout(Some(PATIENCE)).unwrap();
                stream.write_all(b"GET /healthz HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n").unwrap();
                stream
            })
            .collect();
        let host = Server::new("test", "1").build().unwrap();
        let (stop, stopped) = tokio::sync::oneshot::channel::<()>();
        let serving = std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
            runtime.block_on(http.run(host, async move { drop(stopped.await) }))
        });
        for mut stream in waiting {
            let mut answer = String::new();
            stream.read_to_string(&mut answer).unwrap();
            assert!(answer.starts_with("HTTP/1.1 200"), "on a thread: {on_thread}: {answer:?}");
        }
        drop(stop);
        serving.join().unwrap().unwrap();
    }
}
