//! The least that a hop may cost: proxies that look into nothing. What a gateway adds is told beside them.

use std::net::{Ipv4Addr, SocketAddr};

use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use tokio::net::{TcpListener, TcpStream};

use crate::Error;

/// What passes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum Passage {
    /// Bytes: what the sockets cost.
    Bytes,
    /// HTTP requests and answers, their bodies unread: what HTTP costs beside that.
    Http,
}

impl Passage {
    /// Its name on the command line.
    pub fn name(self) -> &'static str {
        match self {
            Self::Bytes => "bytes",
            Self::Http => "http",
        }
    }

    /// Serves on a free port, which it says on its standard error, until the process is ended. Each connection has one of its own
    /// to `upstream`, and all of it is done by one thread, so that nobody waits for another.
    ///
    /// # Errors
    /// No socket, or no runtime.
    pub fn serve(self, upstream: SocketAddr) -> Result<(), Error> {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        runtime.block_on(async {
            let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await?;
            eprintln!("listening on http://{}/mcp", listener.local_addr()?);
            loop {
                let (client, _) = listener.accept().await?;
                tokio::spawn(async move {
                    if let Err(error) = self.pass(client, upstream).await {
                        eprintln!("a connection broke: {error}");
                    }
                });
            }
        })
    }

    async fn pass(self, mut client: TcpStream, upstream: SocketAddr) -> Result<(), Error> {
        let mut server = TcpStream::connect(upstream).await?;
        client.set_nodelay(true)?;
        server.set_nodelay(true)?;
        match self {
            Self::Bytes => drop(tokio::io::copy_bidirectional(&mut client, &mut server).await?),
            Self::Http => {
                let (sender, carrier) = hyper::client::conn::http1::handshake(TokioIo::new(server)).await?;
                tokio::spawn(carrier);
                let sender = tokio::sync::Mutex::new(sender);
                let passing = async |request: hyper::Request<Incoming>| sender.lock().await.send_request(request).await;
                http1::Builder::new().serve_connection(TokioIo::new(client), service_fn(passing)).await?;
            }
        }
        Ok(())
    }
}
