use std::time::Duration;

use http::Response;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;

use super::{Patience, attend};
use crate::body::ResponseBody;

#[tokio::test]
async fn a_connection_that_waits_is_small() {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let socket = TcpStream::connect(listener.local_addr().expect("an address")).await.expect("a connection");
    let patience = Patience { head_timeout: Duration::from_secs(10), idle_timeout: Duration::from_secs(60) };
    let (_closing, watcher) = watch::channel(false);
    let attended = attend(socket, |_| async { Response::new(ResponseBody::text("")) }, patience, watcher);
    // All that a task is while its stream waits for events, but the body.
    let bytes = std::mem::size_of_val(&attended);
    assert!(bytes <= 1280, "{bytes} bytes");
}
