//! `initialize` and the settings of a session.

use std::sync::Arc;

use andon_types::error::ErrorObject;
use andon_types::message::{Request, encode_result};
use andon_types::meta::Level;
use serde::Deserialize;

use super::record::Dirty;
use super::streams::Answered;
use super::{Phase, Session};
use crate::facts::introduction;
use crate::io::{Output, StreamId};

#[derive(Deserialize)]
struct SetLevelParams {
    level: Level,
}

impl Session {
    /// Opens the session, once (lifecycle, "Initialization").
    pub(super) fn initialize(&mut self, stream: StreamId, request: &Request, out: &mut Vec<Output>) {
        if self.phase != Phase::NotInitialized {
            let error = ErrorObject::invalid_request("the session is initialized already");
            return self.answer_error(stream, &request.id, error, out);
        }
        let (revision, client) = match introduction(request) {
            Ok(read) => read,
            Err(error) => return self.answer_error(stream, &request.id, error, out),
        };
        (self.revision, self.client) = (revision, Arc::new(client));
        self.phase = Phase::Initializing;
        self.mark(Dirty::Now);
        let text = encode_result(&request.id, self.offer.opening(self.revision));
        self.send(stream, text, 200, out);
        self.settle(stream, Answered::Yes, out);
    }

    /// Sets the threshold of log notifications (utilities, "Logging").
    pub(super) fn set_level(&mut self, stream: StreamId, request: &Request, out: &mut Vec<Output>) {
        let level = request.params.as_ref().and_then(|params| params.parse::<SetLevelParams>().ok());
        match level {
            Some(params) => {
                self.log_level = params.level;
                self.mark(Dirty::Now);
                self.answer(stream, &request.id, "{}", out);
            }
            None => {
                let why = "\"level\" is debug, info, notice, warning, error, critical, alert or emergency";
                self.answer_error(stream, &request.id, ErrorObject::invalid_params(why), out);
            }
        }
    }
}
