//! Legacy clients over Streamable HTTP without sessions: a server need not have them (2025-03-26 to 2025-11-25, transports,
//! "Session Management").

use std::sync::Arc;

use andon_core::endpoint::admit_alone;
use andon_types::encoded::Encoded;
use andon_types::error::ErrorObject;
use andon_types::message::{Malformed, Message, Request, RequestId, encode_error};
use andon_types::revision::{Era, Revision};

use super::legacy::{check_batch, no_batches};
use super::modern::refusal_text;
use super::{Answer, Beginning, Head, Host, Inbound, is_initialize, request_id};
use crate::conversation::Place;
use crate::principal::Principal;

impl Host {
    pub(super) fn post_alone(self: &Arc<Self>, inbound: &Inbound<'_>, message: Message) -> Answer {
        // What that speaks is in its body (`endpoint::era`).
        let opens = is_initialize(&message);
        let revision = match spoken(&inbound.head, request_id(&message)) {
            Ok(revision) => revision,
            Err(_) if opens && inbound.head.session_id.is_none() => Revision::HEADERLESS,
            Err(refused) => return refused,
        };
        match message {
            Message::Request(request) => self.call_alone(request, revision, &inbound.principal),
            Message::Notification(_) => Answer::empty(202),
            Message::Response(response) => nothing_was_asked(response.id.as_ref()),
        }
    }

    /// Answers the requests of a batch in one piece: nothing but their answers is said.
    pub(super) async fn post_batch_alone(
        self: &Arc<Self>,
        inbound: &Inbound<'_>,
        messages: Vec<Result<Message, Malformed>>,
    ) -> Answer {
        let revision = match spoken(&inbound.head, None) {
            Ok(revision) => revision,
            Err(refused) => return refused,
        };
        if !revision.rules().batch {
            return no_batches();
        }
        if let Err(refused) = check_batch(&messages) {
            return refused;
        }
        if messages.iter().any(|message| matches!(message, Ok(Message::Response(_)))) {
            return nothing_was_asked(None);
        }
        let (mut texts, mut begun) = (Vec::new(), Vec::new());
        for message in messages {
            match message {
                Ok(Message::Request(request)) => {
                    let id = request.id.clone();
                    begun.push((id, self.call_alone(request, revision, &inbound.principal)));
                }
                Ok(_) => {}
                Err(bad) => texts.push(encode_error(bad.id.as_ref(), &bad.error, revision.rules()).into()),
            }
        }
        let status = if begun.is_empty() && !texts.is_empty() { 400 } else { 200 };
        // Together: their handlers run in who waits for them.
        let ended = begun.into_iter().map(|(id, answer)| async move { only_text(answer, &id).await });
        texts.extend(futures_util::future::join_all(ended).await);
        if texts.is_empty() {
            return Answer::empty(202);
        }
        let texts: Vec<&str> = texts.iter().map(|text| &**text).collect();
        Answer::whole(status, Some(format!("[{}]", texts.join(",")).into()), None)
    }

    fn call_alone(self: &Arc<Self>, request: Request, revision: Revision, principal: &Principal) -> Answer {
        let offer = self.offer_alone();
        let admitted = match admit_alone(request, revision, &offer) {
            Ok(admitted) => admitted,
            Err(refused) => {
                let status = andon_core::violation::status(&refused.error, revision.rules());
                return Answer::error(status, Some(&refused.request.id), &refused.error);
            }
        };
        match self.begin_exchange(admitted, offer, None, (principal, Place::stand_by())) {
            Ok(cell) => self.answer_of(cell),
            Err(refused) => *refused,
        }
    }
}

/// The revision that a request without a session is written in.
fn spoken(head: &Head<'_>, id: Option<&RequestId>) -> Result<Revision, Answer> {
    if head.session_id.is_some() {
        // Of a server that had sessions: its client has to learn that this is over.
        let error = ErrorObject::invalid_request("no such session, and this server has none: send \"initialize\" anew");
        return Err(Answer::error(404, id, &error));
    }
    let Some(named) = head.protocol_version else { return Ok(Revision::HEADERLESS) };
    Revision::parse(named).filter(|revision| revision.era() == Era::Legacy).ok_or_else(|| {
        let error = ErrorObject::invalid_request("the header MCP-Protocol-Version names no revision of this server");
        Answer::error(400, id, &error)
    })
}

fn nothing_was_asked(id: Option<&RequestId>) -> Answer {
    let error = ErrorObject::invalid_request("this server has no sessions, and asks its clients nothing");
    Answer::error(400, id, &error)
}

/// The answer to the request `id` without what is said before it.
async fn only_text(answer: Answer, id: &RequestId) -> Encoded {
    match answer {
        Answer::Stream { mut stream, .. } => {
            let mut last = match stream.beginning().await {
                Beginning::Whole(frame) => frame.text,
                _ => None,
            };
            while let Some(frame) = stream.next().await {
                last = frame.text.or(last);
            }
            // Cut off, and what came last is not the answer.
            let last = last.filter(|_| !stream.is_overflowed());
            last.unwrap_or_else(|| refusal_text(&Answer::empty(500), id))
        }
        answer => refusal_text(&answer, id),
    }
}
