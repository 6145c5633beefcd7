//! What the two machines have in common.

use andon_core::exchange::{Exchange, STREAM};
use andon_core::io::{CallId, Input, Output, StreamId, Timestamp};
use andon_core::session::Session;
use andon_core::session::record::Changes;

/// Either machine, as its surroundings use it.
pub(crate) trait Machine: Send + 'static {
    fn handle(&mut self, now: Timestamp, input: Input) -> Vec<Output>;
    fn deadline(&self) -> Option<Timestamp>;

    /// Enters a call that must not be taken for one that never ran.
    fn enter(&mut self, _call: CallId) {}

    /// Where what belongs to a call goes.
    fn stream_of(&self, call: CallId) -> Option<StreamId>;

    /// The whole of `stream` left in one piece; nothing of it need be kept.
    fn delivered(&mut self, _stream: StreamId) {}

    /// What the last turn changed of what outlives the process.
    fn take_changes(&mut self) -> Changes {
        Changes::default()
    }

    /// The session, if it is one.
    fn session(&mut self) -> Option<&mut Session> {
        None
    }
}

impl Machine for Session {
    fn handle(&mut self, now: Timestamp, input: Input) -> Vec<Output> {
        self.handle(now, input)
    }

    fn deadline(&self) -> Option<Timestamp> {
        self.deadline()
    }

    fn enter(&mut self, call: CallId) {
        self.enter(call);
    }

    fn stream_of(&self, call: CallId) -> Option<StreamId> {
        self.stream_of(call)
    }

    fn delivered(&mut self, stream: StreamId) {
        self.delivered(stream);
    }

    fn take_changes(&mut self) -> Changes {
        self.take_changes()
    }

    fn session(&mut self) -> Option<&mut Session> {
        Some(self)
    }
}

impl Machine for Exchange {
    fn handle(&mut self, now: Timestamp, input: Input) -> Vec<Output> {
        self.handle(now, input)
    }

    fn deadline(&self) -> Option<Timestamp> {
        self.deadline()
    }

    fn stream_of(&self, _call: CallId) -> Option<StreamId> {
        Some(STREAM)
    }
}
