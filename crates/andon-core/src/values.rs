//! What handlers keep between calls: a few named values of JSON, bounded together.

use std::collections::BTreeMap;

use andon_types::raw::RawJson;
use serde::{Deserialize, Serialize};

/// Named values, of one session or under one handle.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Values(BTreeMap<Box<str>, RawJson>);

/// Values would take more bytes than they may, names included.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TooLarge;

impl Values {
    /// The value under `name`.
    pub fn get(&self, name: &str) -> Option<&RawJson> {
        self.0.get(name)
    }

    /// Sets the value under `name`; without one, removes it.
    ///
    /// # Errors
    /// [`TooLarge`] if all values would take more than `bytes_max`; then nothing changes.
    pub fn set(&mut self, name: &str, value: Option<RawJson>, bytes_max: usize) -> Result<(), TooLarge> {
        let Some(value) = value else {
            self.0.remove(name);
            return Ok(());
        };
        let others = self.0.iter().filter(|(known, _)| &***known != name);
        let others: usize = others.map(|(known, value)| known.len() + value.as_str().len()).sum();
        if others + name.len() + value.as_str().len() > bytes_max {
            return Err(TooLarge);
        }
        self.0.insert(name.into(), value);
        Ok(())
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use andon_types::raw::RawJson;
    use serde_json::json;

    use super::{TooLarge, Values};

    #[test]
    fn values_are_bounded_together_and_a_refused_one_changes_nothing() {
        let mut values = Values::default();
        let text = |length: usize| Some(RawJson::from(json!("x".repeat(length))));
        assert_eq!(values.set("a", text(10), 30), Ok(()));
        assert_eq!(values.set("b", text(20), 30), Err(TooLarge));
        // The value that is replaced does not count.
        assert_eq!(values.set("a", text(27), 30), Ok(()));
        assert_eq!(values.get("a").map(|value| value.as_str().len()), Some(29));
        assert_eq!(values.set("a", None, 30), Ok(()));
        assert!(values.is_empty());
    }
}
