use std::net::TcpStream;
use std::time::Duration;

use super::Http;

#[test]
fn x11_those_who_come_at_once_wait_to_be_accepted() {
    // A connection for which there is no room is tried again after a second.
    const AGAIN_AFTER: Duration = Duration::from_millis(900);
    let http = Http::bind("127.0.0.1:0").unwrap();
    let waiting: Vec<_> = (0..1000).map(|_| TcpStream::connect_timeout(&http.address(), AGAIN_AFTER)).collect();
    let refused = waiting.iter().filter(|connected| connected.is_err()).count();
    assert_eq!(refused, 0, "nobody accepts yet");
}
