//! A folder served as resources, which nothing leads out of.
//!
//! Names are opened one component at a time, relative to the folder above, and a symbolic link is never followed: what
//! happens to the tree meanwhile cannot lead elsewhere. Only regular files with one name are read.

use std::collections::HashSet;
use std::fmt;
use std::fs::File;
use std::io::{self, Read as _};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard, TryLockError};
use std::time::{Duration, Instant};

use andon_types::content::{ReadResourceResult, ResourceContents};
use andon_types::uri::Uri;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use rustix::fs::{FileType, Mode, OFlags, RawDir, fstat, openat};

use crate::catalogue::Catalogue;
use crate::context::Context;
use crate::entry::{Entries, Register, ResourceEntry, TemplateEntry};
use crate::failure::ProtocolError;
use crate::handler::{BoxFuture, ReadRequest, ResourceHandler};
use crate::source::Source;

/// A folder that is served. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Directory(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    root: OwnedFd,
    /// Canonical, with a slash at its end.
    base: String,
    file_bytes_max: u64,
    entries_max: usize,
    list_age_max: Duration,
    scopes: Vec<String>,
}

/// Why a file is not read.
#[derive(Debug)]
pub enum DirectoryError {
    /// There is no such file, or it is none that is served: a link, a device, a folder, something outside.
    NotFound,
    /// It is larger than the limit, in bytes.
    TooLarge(u64),
    /// The system failed.
    Io(io::Error),
}

impl fmt::Display for DirectoryError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NotFound => f.write_str("no such file is served"),
            Self::TooLarge(most) => write!(f, "the file has more than {most} bytes"),
            Self::Io(error) => write!(f, "the file could not be read: {error}"),
        }
    }
}

impl std::error::Error for DirectoryError {}

impl From<rustix::io::Errno> for DirectoryError {
    fn from(error: rustix::io::Errno) -> Self {
        use rustix::io::Errno;
        match error {
            // What is not there, is a link, is no folder, or cannot be a name.
            Errno::NOENT
            | Errno::LOOP
            | Errno::NOTDIR
            | Errno::MLINK
            | Errno::NAMETOOLONG
            | Errno::INVAL
            | Errno::NXIO
            | Errno::ACCESS => Self::NotFound,
            other => Self::Io(other.into()),
        }
    }
}

/// Levels of folders below the root.
const DEPTH_MAX: usize = 32;
const FOLDER: OFlags = OFlags::RDONLY.union(OFlags::DIRECTORY).union(OFlags::NOFOLLOW).union(OFlags::CLOEXEC);
/// A pipe that nobody writes to must not hold the reader.
const FILE: OFlags = OFlags::RDONLY.union(OFlags::NONBLOCK).union(OFlags::NOFOLLOW).union(OFlags::CLOEXEC);

impl Directory {
    /// The folder at `path`, served below `file:///`.
    ///
    /// # Errors
    /// When it cannot be opened as a folder.
    pub fn open(path: impl AsRef<Path>) -> io::Result<Self> {
        let root = File::open(path)?;
        if !root.metadata()?.is_dir() {
            return Err(io::Error::new(io::ErrorKind::NotADirectory, "only a folder is served"));
        }
        Ok(Self(Arc::new(Inner {
            root: root.into(),
            base: "file:///".to_owned(),
            file_bytes_max: 16 << 20,
            entries_max: 10_000,
            list_age_max: Duration::from_secs(1),
            scopes: Vec::new(),
        })))
    }

    /// Serves it below another URI, such as `docs://handbook/`.
    ///
    /// # Errors
    /// When `base` is no URI.
    pub fn uri_base(self, base: &str) -> Result<Self, andon_types::uri::UriError> {
        let mut base = Uri::parse(base)?.as_str().to_owned();
        if !base.ends_with('/') {
            base.push('/');
        }
        Ok(self.change(|inner| inner.base = base))
    }

    /// Bytes of one file. Default 16 MiB.
    #[must_use]
    pub fn file_bytes_max(self, bytes: u64) -> Self {
        self.change(|inner| inner.file_bytes_max = bytes)
    }

    /// Files that are listed. Default 10,000; more can still be read.
    #[must_use]
    pub fn entries_max(self, entries: usize) -> Self {
        self.change(|inner| inner.entries_max = entries)
    }

    /// How old a list may be: the folder is looked through at most that often, and only when somebody lists resources.
    /// Default 1 s.
    #[must_use]
    pub fn list_age_max(self, age: Duration) -> Self {
        self.change(|inner| inner.list_age_max = age)
    }

    /// Who does not hold this scope is not told of the files, and cannot read them; said twice, both are needed.
    #[must_use]
    pub fn scope(self, scope: impl Into<String>) -> Self {
        self.change(|inner| inner.scopes.push(scope.into()))
    }

    /// Reads the file at `uri`. Blocks: call it where blocking is allowed.
    ///
    /// # Errors
    /// See [`DirectoryError`].
    pub fn read(&self, uri: &str) -> Result<ResourceContents, DirectoryError> {
        let uri = Uri::parse(uri).map_err(|_| DirectoryError::NotFound)?;
        let names = self.names(&uri).ok_or(DirectoryError::NotFound)?;
        let bytes = self.read_file(&names)?;
        let name = names.last().map_or("", String::as_str);
        Ok(match String::from_utf8(bytes) {
            Ok(text) => ResourceContents::text(uri.as_str(), mime_of(name, "text/plain"), text),
            Err(not_text) => {
                let blob = STANDARD.encode(not_text.as_bytes());
                ResourceContents::blob(uri.as_str(), mime_of(name, "application/octet-stream"), blob)
            }
        })
    }

    /// URIs of the files that are served, in order of their names. Blocks.
    ///
    /// # Errors
    /// When the folder cannot be read.
    pub fn list(&self) -> io::Result<Vec<String>> {
        let mut found = Vec::new();
        self.walk(self.0.root.as_fd(), "", 0, &mut found)?;
        found.sort();
        found.truncate(self.0.entries_max);
        Ok(found.into_iter().map(|path| format!("{}{path}", self.0.base)).collect())
    }

    /// What the catalogue says of the file at `uri`.
    fn entry(&self, uri: &str) -> ResourceEntry {
        let name = uri.strip_prefix(self.0.base.as_str()).unwrap_or(uri);
        let mut entry = ResourceEntry::new(uri, name, self.clone()).mime_type(mime_of(name, "text/plain"));
        entry.scopes.clone_from(&self.0.scopes);
        entry
    }

    fn change(mut self, change: impl FnOnce(&mut Inner)) -> Self {
        change(Arc::get_mut(&mut self.0).expect("a folder is not shared before it is served"));
        self
    }

    /// The names below the root that `uri` leads through; each decoded once, none with a meaning of its own.
    fn names(&self, uri: &Uri) -> Option<Vec<String>> {
        let path = uri.as_str().strip_prefix(self.0.base.as_str())?;
        if uri.has_query_or_fragment() || path.is_empty() {
            return None;
        }
        path.split('/').map(decode).collect()
    }

    fn read_file(&self, names: &[String]) -> Result<Vec<u8>, DirectoryError> {
        let (name, folders) = names.split_last().ok_or(DirectoryError::NotFound)?;
        if folders.len() > DEPTH_MAX {
            return Err(DirectoryError::NotFound);
        }
        let mut above: Option<OwnedFd> = None;
        for folder in folders {
            let at = above.as_ref().map_or(self.0.root.as_fd(), AsFd::as_fd);
            above = Some(openat(at, folder.as_str(), FOLDER, Mode::empty())?);
        }
        let at = above.as_ref().map_or(self.0.root.as_fd(), AsFd::as_fd);
        let file = openat(at, name.as_str(), FILE, Mode::empty())?;
        let known = fstat(&file)?;
        // A second name may be one outside of the folder.
        if FileType::from_raw_mode(known.st_mode) != FileType::RegularFile || known.st_nlink != 1 {
            return Err(DirectoryError::NotFound);
        }
        let most = self.0.file_bytes_max;
        let mut bytes = Vec::new();
        // It may grow while it is read.
        File::from(file).take(most + 1).read_to_end(&mut bytes).map_err(DirectoryError::Io)?;
        if bytes.len() as u64 > most { Err(DirectoryError::TooLarge(most)) } else { Ok(bytes) }
    }

    fn walk(&self, folder: BorrowedFd<'_>, path: &str, depth: usize, found: &mut Vec<String>) -> io::Result<()> {
        let handle = openat(folder, ".", FOLDER, Mode::empty())?;
        let mut buffer = Vec::with_capacity(8192);
        let mut entries = RawDir::new(&handle, buffer.spare_capacity_mut());
        let mut below = Vec::new();
        while let Some(entry) = entries.next() {
            let entry = entry?;
            let Ok(name) = entry.file_name().to_str() else { continue };
            if name == "." || name == ".." || found.len() >= self.0.entries_max {
                continue;
            }
            let child = format!("{path}{}", encode(name));
            match entry.file_type() {
                FileType::RegularFile => found.push(child),
                FileType::Directory if depth < DEPTH_MAX => below.push((name.to_owned(), child)),
                _ => {}
            }
        }
        for (name, child) in below {
            // It may be gone, or something else by now.
            if let Ok(folder) = openat(&handle, name.as_str(), FOLDER, Mode::empty()) {
                self.walk(folder.as_fd(), &format!("{child}/"), depth + 1, found)?;
            }
        }
        Ok(())
    }
}

impl Register for Directory {
    /// A template that reads any file, and a resource for each that is there.
    fn register(self, entries: &mut Entries) {
        match self.list() {
            Ok(uris) => {
                entries.resources.extend(uris.iter().map(|uri| self.entry(uri)));
                entries.sources.push(Arc::new(Listed::new(self.clone(), uris.into_iter().collect())));
            }
            Err(error) => tracing::warn!(%error, "a folder could not be listed; its files can still be read"),
        }
        let template = format!("{}{{+path}}", self.0.base);
        let mut entry = TemplateEntry::new(template, "files", self.clone());
        entry.scopes.clone_from(&self.0.scopes);
        entry.register(entries);
    }
}

impl ResourceHandler for Directory {
    fn read(&self, request: ReadRequest, _: Context) -> BoxFuture<'static, Result<ReadResourceResult, ProtocolError>> {
        let directory = self.clone();
        Box::pin(async move {
            match tokio::task::spawn_blocking(move || Directory::read(&directory, &request.uri)).await {
                Ok(Ok(contents)) => Ok(ReadResourceResult { contents: vec![contents] }),
                Ok(Err(DirectoryError::NotFound)) => Err(ProtocolError::not_found()),
                Ok(Err(error @ DirectoryError::TooLarge(_))) => Err(ProtocolError::invalid_params(error.to_string())),
                Ok(Err(DirectoryError::Io(error))) => Err(ProtocolError::from(error)),
                Err(panicked) => Err(ProtocolError::from(panicked)),
            }
        })
    }
}

/// The files that the catalogue lists.
struct Listed {
    directory: Directory,
    known: Mutex<Known>,
}

struct Known {
    /// Those that this object listed; a resource that was registered by hand at the same URI is not its business.
    uris: HashSet<String>,
    looked_at: Instant,
}

impl Listed {
    fn new(directory: Directory, uris: HashSet<String>) -> Self {
        Self { directory, known: Mutex::new(Known { uris, looked_at: Instant::now() }) }
    }

    /// What is known, unless another thread is about to change it.
    fn known(&self) -> Option<MutexGuard<'_, Known>> {
        match self.known.try_lock() {
            Ok(known) => Some(known),
            Err(TryLockError::Poisoned(known)) => Some(known.into_inner()),
            Err(TryLockError::WouldBlock) => None,
        }
    }
}

impl Source for Listed {
    fn is_due(&self) -> bool {
        self.known().is_some_and(|known| known.looked_at.elapsed() >= self.directory.0.list_age_max)
    }

    fn refresh(&self, catalogue: &Catalogue) {
        let Some(mut known) = self.known() else { return };
        if known.looked_at.elapsed() < self.directory.0.list_age_max {
            return;
        }
        let listed = self.directory.list();
        known.looked_at = Instant::now();
        let now: HashSet<String> = match listed {
            Ok(uris) => uris.into_iter().collect(),
            Err(error) => return tracing::warn!(%error, "a folder could not be listed; the list may be old"),
        };
        let gone: HashSet<String> = known.uris.difference(&now).cloned().collect();
        let snapshot = catalogue.snapshot();
        let mut new: Vec<String> =
            now.difference(&known.uris).filter(|uri| snapshot.resources.find(uri).is_none()).cloned().collect();
        if gone.is_empty() && new.is_empty() {
            return;
        }
        new.sort();
        catalogue.exchange(&gone, new.iter().map(|uri| self.directory.entry(uri)).collect());
        known.uris.retain(|uri| !gone.contains(uri));
        known.uris.extend(new);
    }
}

fn decode(segment: &str) -> Option<String> {
    let mut bytes = Vec::with_capacity(segment.len());
    let mut rest = segment.as_bytes();
    while let Some((&byte, after)) = rest.split_first() {
        if byte == b'%' {
            let digits = std::str::from_utf8(after.get(..2)?).ok()?;
            bytes.push(u8::from_str_radix(digits, 16).ok()?);
            rest = &after[2..];
        } else {
            bytes.push(byte);
            rest = after;
        }
    }
    let name = String::from_utf8(bytes).ok()?;
    let has_meaning =
        matches!(name.as_str(), "" | "." | "..") || name.contains(['/', '\\']) || name.contains(char::is_control);
    (!has_meaning).then_some(name)
}

fn encode(name: &str) -> String {
    let mut text = String::with_capacity(name.len());
    for byte in name.bytes() {
        if byte.is_ascii_alphanumeric() || b"-._~".contains(&byte) {
            text.push(char::from(byte));
        } else {
            text.push_str(&format!("%{byte:02X}"));
        }
    }
    text
}

fn mime_of(name: &str, otherwise: &'static str) -> &'static str {
    const TYPES: [(&str, &str); 14] = [
        ("css", "text/css"),
        ("csv", "text/csv"),
        ("gif", "image/gif"),
        ("html", "text/html"),
        ("jpg", "image/jpeg"),
        ("js", "text/javascript"),
        ("json", "application/json"),
        ("md", "text/markdown"),
        ("pdf", "application/pdf"),
        ("png", "image/png"),
        ("svg", "image/svg+xml"),
        ("txt", "text/plain"),
        ("wav", "audio/wav"),
        ("xml", "application/xml"),
    ];
    let ending = name.rsplit_once('.').map_or("", |(_, ending)| ending);
    TYPES.iter().find(|(known, _)| known.eq_ignore_ascii_case(ending)).map_or(otherwise, |(_, mime)| mime)
}

#[cfg(test)]
mod tests;
