use std::io;
use std::sync::Arc;

use futures_util::future::BoxFuture;
use tokio::sync::{mpsc, oneshot};

use super::{Serve, Shutdown};
use crate::error::{Error, ErrorKind};
use crate::host::Host;
use crate::server::Server;

/// Says when it starts, and ends when told to.
struct Told(mpsc::UnboundedSender<&'static str>);

impl Serve for Told {
    fn serve(self, _: Arc<Host>, mut shutdown: Shutdown) -> BoxFuture<'static, Result<(), Error>> {
        Box::pin(async move {
            self.0.send("started").map_err(|_| Error::misuse("nobody listens"))?;
            shutdown.requested().await;
            self.0.send("ended").map_err(|_| Error::misuse("nobody listens"))
        })
    }
}

/// Cannot start.
struct Broken;

impl Serve for Broken {
    fn serve(self, _: Arc<Host>, _: Shutdown) -> BoxFuture<'static, Result<(), Error>> {
        Box::pin(async { Err(Error::io("cannot listen", io::Error::from(io::ErrorKind::AddrInUse))) })
    }
}

#[tokio::test]
async fn all_transports_are_told_to_end() {
    let (sender, mut heard) = mpsc::unbounded_channel();
    let (stop, stopped) = oneshot::channel::<()>();
    let transports = (Told(sender.clone()), Told(sender));
    let serving = tokio::spawn(Server::new("t", "1").serve_until(transports, async {
        drop(stopped.await);
    }));
    assert_eq!((heard.recv().await, heard.recv().await), (Some("started"), Some("started")));
    stop.send(()).unwrap();
    assert_eq!((heard.recv().await, heard.recv().await), (Some("ended"), Some("ended")));
    assert!(serving.await.unwrap().is_ok());
}

#[tokio::test]
async fn a_transport_that_cannot_start_ends_them_all() {
    let (sender, _heard) = mpsc::unbounded_channel();
    let served = Server::new("t", "1").serve_until((Told(sender), Broken), std::future::pending()).await;
    let error = served.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Io);
    assert!(error.to_string().starts_with("cannot listen: "), "{error}");
}
