//! A server of this process: no socket, no child, the same machines.

use std::sync::{Arc, Mutex, PoisonError};

use andon_core::client::Loss;
use andon_server::host::Host;
use andon_server::principal::Principal;
use futures_util::FutureExt as _;
use futures_util::future::BoxFuture;
use tokio::sync::mpsc;
use tokio::task::AbortHandle;

use super::{Ear, Heard, Link, Round, read_messages};
use crate::carriage::Carriage;

/// A connection within the process.
pub(crate) struct Local {
    queue: Mutex<Option<mpsc::UnboundedSender<String>>>,
    reader: AbortHandle,
}

impl Local {
    pub(crate) fn new(host: &Arc<Host>, principal: Principal, ear: Ear) -> Self {
        let (connection, mut stream) = host.connect(principal);
        let (queue, mut queued) = mpsc::unbounded_channel::<String>();
        // Handlers begin where their request is received: not in the middle of what the client does.
        tokio::spawn(async move {
            while let Some(text) = queued.recv().await {
                connection.ready().await;
                connection.receive(text.as_bytes());
            }
        });
        let reader = tokio::spawn(async move {
            while let Some(frame) = stream.next().await {
                if let Some(text) = frame.text.as_deref() {
                    read_messages(text.as_bytes(), &ear);
                }
            }
            ear(Heard::Closed(Loss::Disconnected("the server ended the conversation".to_owned())));
        })
        .abort_handle();
        Self { queue: Mutex::new(Some(queue)), reader }
    }

    fn put(&self, text: String) {
        if let Some(queue) = self.queue.lock().unwrap_or_else(PoisonError::into_inner).as_ref() {
            // The task that receives ends with the queue and not before.
            drop(queue.send(text));
        }
    }
}

impl Drop for Local {
    fn drop(&mut self) {
        self.reader.abort();
    }
}

impl Link for Local {
    fn send(&self, round: Round) -> Option<Carriage> {
        self.put(round.text);
        None
    }

    fn say(&self, text: String) -> BoxFuture<'static, ()> {
        self.put(text);
        async {}.boxed()
    }

    fn close(&self) -> BoxFuture<'_, ()> {
        self.queue.lock().unwrap_or_else(PoisonError::into_inner).take();
        async {}.boxed()
    }
}
