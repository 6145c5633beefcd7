//! What a tool is, as far as its server says it: all that clients are shown.

use andon_types::raw::RawJson;
use andon_types::tools::Tool;
use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};

use crate::diff::{Extent, diff};
use crate::names::hex;

/// A longer one is kept by its digest only.
const TEXT_BYTES_MAX: usize = 64 << 10;

#[derive(Debug, Clone, Serialize, Deserialize)]
pub(super) struct Definition {
    /// Of the text, in hexadecimal digits.
    sha256: String,
    /// JSON, for people who look at what changed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    text: Option<RawJson>,
}

impl PartialEq for Definition {
    fn eq(&self, other: &Self) -> bool {
        self.is(&other.sha256)
    }
}

impl Definition {
    /// That of `tool`. The order of members does not matter.
    pub(super) fn of(tool: &Tool) -> Self {
        let text = match serde_json::to_value(tool) {
            Ok(mut value) => {
                value.sort_all_objects();
                RawJson::from(value)
            }
            // It nests too deeply for a tree, or has a number that is too large.
            Err(_) => RawJson::of(tool).expect("what was read from JSON can be written as JSON"),
        };
        let sha256 = hex(&Sha256::digest(text.as_str().as_bytes()));
        Self { sha256, text: Some(text) }.within(TEXT_BYTES_MAX)
    }

    pub(super) fn digest(&self) -> &str {
        &self.sha256
    }

    pub(super) fn is(&self, digest: &str) -> bool {
        self.sha256 == digest
    }

    /// Bytes of its text, if that is kept.
    pub(super) fn bytes(&self) -> usize {
        self.text.as_ref().map_or(0, |text| text.as_str().len())
    }

    /// Without its text if that is longer.
    pub(super) fn within(self, bytes_max: usize) -> Self {
        let text = self.text.filter(|text| text.as_str().len() <= bytes_max);
        Self { text, ..self }
    }

    /// What is other in `after`.
    pub(super) fn diff(&self, after: &Self, extent: Extent) -> String {
        match (&self.text, &after.text) {
            (Some(before), Some(after)) => diff(before.as_str(), after.as_str(), extent),
            _ => format!(
                "- sha256 {}\n+ sha256 {}\nit is too large to be kept, so what changed is not known",
                self.sha256, after.sha256
            ),
        }
    }
}
