//! What the machine and the engine do by themselves.

use std::fs::File;
use std::io::{Seek as _, SeekFrom, Write as _};
use std::path::Path;
use std::time::{Duration, Instant};

use andon_bench::Error;
use redb::{Database, TableDefinition};

use crate::figures::Rate;
use crate::{RECORD_BYTES, id};

const PAGE: [u8; 4_096] = [1; 4_096];
const RECORDS: TableDefinition<'_, u128, &[u8]> = TableDefinition::new("records");

/// A file whose pages are written one after the other.
pub(crate) struct Pages(File);

impl Pages {
    pub(crate) fn create(place: &Path) -> Result<Self, Error> {
        let mut file = File::create(place.join("sync"))?;
        file.write_all(&PAGE.repeat(1_024))?;
        file.sync_all()?;
        Ok(Self(file))
    }

    /// Writes pages, and waits each time until the disk has it. Adds how long that takes.
    pub(crate) fn sync(&mut self, window: Duration, times: &mut Vec<Duration>) -> Result<(), Error> {
        let began = Instant::now();
        while began.elapsed() < window {
            self.0.seek(SeekFrom::Start(times.len() as u64 * 7 % 1_024 * 4_096))?;
            self.0.write_all(&PAGE)?;
            let at = Instant::now();
            self.0.sync_data()?;
            times.push(at.elapsed());
        }
        Ok(())
    }
}

/// The engine without a store around it.
pub(crate) struct Engine {
    database: Database,
    written: u64,
}

impl Engine {
    pub(crate) fn create(path: &Path) -> Result<Self, Error> {
        Ok(Self { database: Database::create(path)?, written: 0 })
    }

    /// Writes records, so many in each durable transaction. Gives how long each transaction took.
    pub(crate) fn write(&mut self, window: Duration, in_each: u64, rate: &mut Rate) -> Result<Vec<Duration>, Error> {
        let (began, first) = (Instant::now(), self.written);
        let mut times = Vec::new();
        while began.elapsed() < window {
            let at = Instant::now();
            let mut transaction = self.database.begin_write()?;
            transaction.set_quick_repair(true);
            {
                let mut records = transaction.open_table(RECORDS)?;
                for _ in 0..in_each {
                    records.insert(id(self.written), &[b'x'; RECORD_BYTES][..])?;
                    self.written += 1;
                }
            }
            transaction.commit()?;
            times.push(at.elapsed());
        }
        rate.add(self.written - first, began.elapsed());
        Ok(times)
    }
}
