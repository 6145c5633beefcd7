//! The definitions of tools as they were seen first: one that changes behind one's back is an attack on whoever trusted
//! the old one. What is held back is decided by the definition itself, wherever a catalogue is shown: it is what differs
//! from its pin, in whichever conversation and from whenever it comes.

mod approvals;
mod definition;
pub(crate) mod kept;

use std::collections::{BTreeMap, HashMap, HashSet};
use std::ops::Deref;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};

use serde::{Deserialize, Serialize};

use crate::catalogue::Catalogue;
use crate::config::Policy;
use crate::diff::Extent;
use crate::flight::lock;
use approvals::Approval;
use definition::Definition;

pub use approvals::{HeldBack, approve, held_back};

/// Where they are kept, in the folder of data: a file for each server.
const FOLDER: &str = "definitions";
/// Where lists are kept, so that they are there before the servers are.
const LISTS: &str = "lists";
/// Tools of one server that are pinned, twice what one list may have. No pin is given up for another: a server could
/// invent names until that of a tool which it wants to change is forgotten.
const PINS_MAX: usize = 10_000;
/// Bytes of the name of a tool that is pinned.
const NAME_BYTES_MAX: usize = 1024;
/// Bytes of the definitions of one server that are kept to be compared; beyond, their digests are.
const TEXT_BYTES_MAX: usize = 16 << 20;
/// Changes of one list that are logged with what changed.
const LOGGED_MAX: usize = 20;
/// What of a change is logged.
const LOGGED: Extent = Extent::Brief { lines_max: 20, chars_max: 200 };

/// The tools of a catalogue that are held back, by name; `None` if there are none.
pub(crate) type Held = Option<Arc<HashSet<String>>>;

/// What is kept of all servers.
pub(crate) struct Pins {
    data: Option<PathBuf>,
    servers: Mutex<HashMap<String, Arc<Trust>>>,
}

/// The definitions of one server that are trusted.
pub(crate) struct Trust {
    server: String,
    /// `None` without a folder of data: then pins last as long as the process.
    data: Option<PathBuf>,
    pins: Mutex<BTreeMap<String, Pin>>,
    /// Of `pins`: changes with them, under their lock.
    generation: AtomicU64,
    /// Held by who writes a file of this server, so that what was written last is what is known last.
    writing: Mutex<()>,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
struct Pin {
    trusted: Definition,
    /// What the server says now, in the conversation that listed last, if it is held back.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    held: Option<Definition>,
}

/// The file of one server.
#[derive(Serialize, Deserialize)]
struct File {
    server: String,
    tools: BTreeMap<String, Pin>,
}

/// What one server listed.
#[derive(Serialize, Deserialize)]
struct Lists {
    /// A digest of what starts it: another program by the same name has other lists.
    origin: String,
    catalogue: Catalogue,
}

/// What a server lists, with what is trusted of it. Only [`Trust`] makes it.
pub(crate) struct Vetted {
    catalogue: Catalogue,
    /// Of the tools, in their order.
    digests: Vec<String>,
    trust: Arc<Trust>,
    policy: Policy,
    /// As it was in this generation of the pins.
    held: Mutex<Option<(u64, Held)>>,
}

impl Deref for Vetted {
    type Target = Catalogue;

    fn deref(&self) -> &Catalogue {
        &self.catalogue
    }
}

/// Whether they list the same.
impl PartialEq for Vetted {
    fn eq(&self, other: &Self) -> bool {
        self.catalogue == other.catalogue
    }
}

impl Vetted {
    /// The tools that clients do not see: with [`Policy::Hold`] those whose definitions are not the ones that are trusted,
    /// which includes those that are not known at all yet.
    pub(crate) fn held(&self) -> Held {
        if self.policy == Policy::Log {
            return None;
        }
        let mut known = lock(&self.held);
        if let Some((generation, held)) = &*known
            && *generation == self.trust.generation.load(Ordering::Acquire)
        {
            return held.clone();
        }
        let pins = lock(&self.trust.pins);
        let generation = self.trust.generation.load(Ordering::Acquire);
        let is_trusted = |name: &str, digest: &str| pins.get(name).is_some_and(|pin| pin.trusted.is(digest));
        let tools = self.catalogue.tools.iter().zip(&self.digests);
        let held: HashSet<String> =
            tools.filter(|(tool, digest)| !is_trusted(&tool.name, digest)).map(|(tool, _)| tool.name.clone()).collect();
        let held = (!held.is_empty()).then(|| Arc::new(held));
        *known = Some((generation, held.clone()));
        held
    }
}

impl Pins {
    /// Those that were kept in the folder `data`, with what was approved meanwhile.
    ///
    /// # Errors
    /// When one of the files cannot be read: to go on without it would be to trust whatever is said next.
    pub(crate) fn open(data: Option<&Path>) -> std::io::Result<Self> {
        let mut servers = HashMap::new();
        for file in data.map(files).transpose()?.unwrap_or_default() {
            let File { server, tools } = file;
            servers.insert(server.clone(), Arc::new(Trust::new(&server, data, tools)));
        }
        let pins = Self { data: data.map(Path::to_owned), servers: Mutex::new(servers) };
        pins.heed_approvals();
        Ok(pins)
    }

    /// What is trusted of `server`.
    pub(crate) fn of(&self, server: &str) -> Arc<Trust> {
        let new = || Arc::new(Trust::new(server, self.data.as_deref(), BTreeMap::new()));
        lock(&self.servers).entry(server.to_owned()).or_insert_with(new).clone()
    }

    /// Trusts what `andon approve` was told to trust, and whether it was told anything. All else stays as it is, whatever
    /// became of the files.
    pub(crate) fn heed_approvals(&self) -> bool {
        let Some(data) = &self.data else { return false };
        let mut is_told = false;
        for (server, approvals) in approvals::waiting(data) {
            is_told = true;
            let (files, approvals): (Vec<_>, Vec<_>) = approvals.into_iter().unzip();
            // If it cannot be kept, the next process heeds it again.
            if self.of(&server).approve(approvals) {
                approvals::remove(&files);
            }
        }
        is_told
    }
}

impl Trust {
    fn new(server: &str, data: Option<&Path>, tools: BTreeMap<String, Pin>) -> Self {
        Self {
            server: server.to_owned(),
            data: data.map(Path::to_owned),
            pins: Mutex::new(tools),
            generation: AtomicU64::new(0),
            writing: Mutex::default(),
        }
    }

    /// What the server has listed once, which changes nothing of what is trusted.
    pub(crate) fn vet(self: &Arc<Self>, policy: Policy, catalogue: Catalogue) -> Vetted {
        let digests = catalogue.tools.iter().map(|tool| Definition::of(tool).digest().to_owned()).collect();
        Vetted { catalogue, digests, trust: self.clone(), policy, held: Mutex::default() }
    }

    /// What the server lists now: pins the tools that are new, and logs those that changed. `elsewhere` is held back in
    /// its other conversations. Reads and writes files.
    pub(crate) fn heed(
        self: &Arc<Self>,
        policy: Policy,
        catalogue: Catalogue,
        elsewhere: &[Arc<HashSet<String>>],
    ) -> Vetted {
        let definitions: Vec<_> = catalogue.tools.iter().map(Definition::of).collect();
        let digests = definitions.iter().map(|definition| definition.digest().to_owned()).collect();
        let mut heeding =
            Heeding { policy, bytes: 0, is_changed: false, count: 0, news: Vec::new(), without_room: None };
        {
            let mut pins = lock(&self.pins);
            heeding.bytes = pins.values().map(Pin::bytes).sum();
            for (tool, definition) in catalogue.tools.iter().zip(definitions) {
                let is_elsewhere = || elsewhere.iter().any(|held| held.contains(&tool.name));
                heeding.heed(&mut pins, &tool.name, definition, is_elsewhere);
            }
            if heeding.is_changed {
                self.generation.fetch_add(1, Ordering::Release);
            }
        }
        if heeding.is_changed {
            self.save();
        }
        self.log(&heeding);
        Vetted { catalogue, digests, trust: self.clone(), policy, held: Mutex::default() }
    }

    fn log(&self, heeding: &Heeding) {
        let server = &*self.server;
        let what = match heeding.policy {
            Policy::Log => "the definition of a tool has changed",
            Policy::Hold => "the definition of a tool has changed: it is held back until andon approve",
        };
        for (tool, before, after) in &heeding.news {
            let diff = before.diff(after, LOGGED);
            tracing::warn!(server, tool, diff, "{what}");
        }
        if heeding.count > heeding.news.len() {
            let tools = heeding.count - heeding.news.len();
            tracing::warn!(server, tools, "the definitions of more tools have changed");
        }
        if let Some(tool) = &heeding.without_room {
            let file = self.file(FOLDER).map(|file| file.display().to_string());
            tracing::error!(
                server,
                tool,
                file,
                "a server has had more than {PINS_MAX} tools, or some with long names: those are not watched, and with \
                 \"hold\" not offered; without the file, which can be removed while Andon does not run, all are new"
            );
        }
    }

    /// Trusts these; whether that is kept as well.
    fn approve(&self, approvals: Vec<Approval>) -> bool {
        {
            let mut pins = lock(&self.pins);
            for approval in approvals {
                let (server, tool) = (&*self.server, &*approval.tool);
                // Otherwise it is again what it was.
                let Some(pin) = pins.get_mut(tool).filter(|pin| pin.held.is_some()) else { continue };
                tracing::info!(server, tool, "a changed definition was approved");
                drop(pin.held.take_if(|held| *held == approval.definition));
                pin.trusted = approval.definition;
            }
            self.generation.fetch_add(1, Ordering::Release);
        }
        self.save()
    }

    /// What the server listed in an earlier process, if it is started by the same `origin`.
    pub(crate) fn kept(&self, origin: &str) -> Option<Catalogue> {
        let file = self.file(LISTS)?;
        match kept::load::<Lists>(&file) {
            Ok(lists) => (lists.origin == origin).then_some(lists.catalogue),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => None,
            Err(error) => {
                tracing::warn!(server = self.server, %error, "lists are not used");
                None
            }
        }
    }

    /// Keeps what the server lists for the next process.
    pub(crate) fn keep(&self, origin: &str, catalogue: &Catalogue) {
        let Some(file) = self.file(LISTS) else { return };
        let lists = Lists { origin: origin.to_owned(), catalogue: catalogue.clone() };
        let writing = lock(&self.writing);
        let kept = kept::store(&file, &lists);
        drop(writing);
        if let Err(error) = kept {
            tracing::warn!(server = self.server, %error, "lists cannot be kept");
        }
    }

    fn file(&self, folder: &str) -> Option<PathBuf> {
        Some(self.data.as_deref()?.join(folder).join(kept::file_name(&self.server)))
    }

    /// Writes what is trusted now; whether that worked.
    fn save(&self) -> bool {
        let Some(file) = self.file(FOLDER) else { return true };
        let writing = lock(&self.writing);
        let tools = lock(&self.pins).clone();
        let saved = kept::store(&file, &File { server: self.server.clone(), tools });
        drop(writing);
        if let Err(error) = &saved {
            tracing::error!(file = %file.display(), %error, "the definitions of tools cannot be kept");
        }
        saved.is_ok()
    }
}

impl Pin {
    /// That are kept to be compared.
    fn bytes(&self) -> usize {
        self.trusted.bytes() + self.held.as_ref().map_or(0, Definition::bytes)
    }
}

/// What comes of one list.
struct Heeding {
    policy: Policy,
    /// That are kept of the server's definitions.
    bytes: usize,
    is_changed: bool,
    /// Tools that changed.
    count: usize,
    /// The first of them: tool, what it was and what it is.
    news: Vec<(String, Definition, Definition)>,
    /// One of the tools for which there is no room.
    without_room: Option<String>,
}

impl Heeding {
    fn heed(
        &mut self,
        pins: &mut BTreeMap<String, Pin>,
        tool: &str,
        definition: Definition,
        is_elsewhere: impl FnOnce() -> bool,
    ) {
        let count = pins.len();
        let Some(pin) = pins.get_mut(tool) else {
            if count < PINS_MAX && tool.len() <= NAME_BYTES_MAX {
                pins.insert(tool.to_owned(), Pin { trusted: self.fitting(definition), held: None });
                self.is_changed = true;
            } else {
                self.without_room = Some(tool.to_owned());
            }
            return;
        };
        if pin.trusted == definition {
            // It changed back, unless another conversation says otherwise.
            if pin.held.is_some() && !is_elsewhere() {
                pin.held = None;
                self.is_changed = true;
            }
            return;
        }
        if pin.held.as_ref() == Some(&definition) && self.policy == Policy::Hold {
            return;
        }
        self.is_changed = true;
        self.count += 1;
        if self.news.len() < LOGGED_MAX {
            self.news.push((tool.to_owned(), pin.trusted.clone(), definition.clone()));
        }
        match self.policy {
            Policy::Log => {
                self.bytes -= pin.bytes();
                *pin = Pin { trusted: self.fitting(definition), held: None };
            }
            Policy::Hold => {
                self.bytes -= pin.held.take().map_or(0, |held| held.bytes());
                pin.held = Some(self.fitting(definition));
            }
        }
    }

    /// With its text, if there is room for it.
    fn fitting(&mut self, definition: Definition) -> Definition {
        let definition = definition.within(TEXT_BYTES_MAX.saturating_sub(self.bytes));
        self.bytes += definition.bytes();
        definition
    }
}

/// What is kept of each server in the folder `data`.
fn files(data: &Path) -> std::io::Result<Vec<File>> {
    kept::listed(&data.join(FOLDER))?.iter().map(|file| kept::load(file)).collect()
}

#[cfg(test)]
mod tests;
