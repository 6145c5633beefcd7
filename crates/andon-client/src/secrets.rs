//! What a program gave a server in confidence, kept out of what is told of the server: its last words, its standard error,
//! what it answers when it refuses. All of that ends in logs, and before people.

use std::cmp::Reverse;

use andon_core::client::Loss;
use andon_types::error::{ErrorObject, clip};
use andon_types::message::{Message, Response};
use http::HeaderMap;

use crate::link::Heard;
use crate::target::Kind;

/// Shorter values are words, numbers and flags, and no secrets.
const BYTES_MIN: usize = 8;

/// Values of the environment, of arguments and of headers, and their names. The longest come first, as they may contain others.
pub(crate) struct Secrets(Vec<(String, String)>);

impl Secrets {
    /// What `target` is given in its environment or its arguments, or in `headers`.
    pub(crate) fn of(target: &Kind, headers: &HeaderMap) -> Self {
        let mut known = Vec::new();
        if let Kind::Command(command) = target {
            for (name, value) in &command.environment {
                known.push((value.to_string_lossy().into_owned(), name.to_string_lossy().into_owned()));
            }
            known.extend(command.masked.iter().map(|(name, value)| (value.clone(), name.clone())));
        }
        for (name, value) in headers {
            let Ok(value) = value.to_str() else { continue };
            // The scheme of credentials is none of them.
            let words = value.split_ascii_whitespace().chain([value]);
            known.extend(words.map(|word| (word.to_owned(), name.to_string())));
        }
        known.retain(|(value, _)| value.len() >= BYTES_MIN);
        known.sort_by_key(|(value, _)| Reverse(value.len()));
        Self(known)
    }

    /// Puts the names of values in their place.
    pub(crate) fn mask(&self, text: &mut String) {
        for (value, name) in &self.0 {
            if text.contains(value) {
                *text = text.replace(value, &format!("${{{name}}}"));
            }
        }
    }

    /// The same in why there is no answer.
    pub(crate) fn masked(&self, mut loss: Loss) -> Loss {
        if let Loss::Unreachable(why) | Loss::Disconnected(why) | Loss::Refused { why, .. } | Loss::Unauthorized(why) =
            &mut loss
        {
            self.mask(why);
        }
        loss
    }

    /// The same in what is told of a server. Results, and what it says unasked, are the program's.
    pub(crate) fn mask_heard(&self, heard: &mut Heard) {
        match heard {
            Heard::Message(message) | Heard::Related { message, .. } => {
                if let Message::Response(Response { outcome: Err(ErrorObject { message, .. }), .. }) = message {
                    self.mask(message);
                }
            }
            Heard::Refused { error, .. } => self.mask(&mut error.message),
            Heard::Failed { loss, .. } | Heard::Closed(loss) => *loss = self.masked(loss.clone()),
            Heard::Unreadable { why: text, .. } | Heard::Stderr(text) => self.mask(text),
            Heard::Noise(text) => {
                self.mask(text);
                text.truncate(clip(text).len());
            }
            Heard::SessionGone => {}
        }
    }
}

#[cfg(test)]
mod tests;
