use std::time::Duration;

use andon_server::server::Server;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;

use super::{Patience, attend};
use crate::options::HttpOptions;
use crate::service::HttpService;

#[tokio::test]
async fn a_connection_that_waits_is_small() {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let socket = TcpStream::connect(listener.local_addr().expect("an address")).await.expect("a connection");
    let patience = Patience { head_timeout: Duration::from_secs(10), idle_timeout: Duration::from_secs(60) };
    let (_closing, watcher) = watch::channel(false);
    let service = HttpService::new(Server::new("test", "1").build().expect("a server"), HttpOptions::default());
    let attended = attend(socket, service, patience, watcher);
    // All that a task is while its stream waits for events, but the body.
    let bytes = std::mem::size_of_val(&attended);
    assert!(bytes <= 1280, "{bytes} bytes");
}
