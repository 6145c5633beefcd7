//! What is taken away by and by: events of dead sessions, and keys that were dead for long enough.

use redb::{ReadableTable as _, StorageError};

use super::write::Writing;

impl Writing<'_> {
    /// Takes away at most `max` rows; keys that died at `forgettable_ms` of uptime or before are forgotten. Says whether
    /// there is more.
    pub(super) fn tidy(&mut self, forgettable_ms: Option<u64>, max: usize) -> Result<bool, StorageError> {
        let mut room = max;
        loop {
            let first = self.leftovers.first()?.map(|row| row.0.value());
            let Some(session) = first else { break };
            let deleted = self.delete_events(session, room)?;
            if deleted == room {
                return Ok(true);
            }
            room -= deleted;
            self.leftovers.remove(session)?;
        }
        // Only now, since a session whose key is forgotten could be made anew, and must not find its old events.
        let Some(forgettable_ms) = forgettable_ms else { return Ok(false) };
        let mut forgotten = Vec::new();
        for row in self.deaths.range(..=(forgettable_ms, u8::MAX, u128::MAX))?.take(room) {
            forgotten.push(row?.0.value());
        }
        for death in &forgotten {
            self.deaths.remove(death)?;
            self.dead.remove((death.1, death.2))?;
        }
        Ok(forgotten.len() == room)
    }
}
