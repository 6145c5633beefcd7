//! What a client connects to.

use std::ffi::OsString;
use std::path::PathBuf;

use tokio::io::{AsyncRead, AsyncWrite};

/// What a client connects to. Text is a URL (`http:`, `https:`), a socket that speaks lines (`tcp://host:port`,
/// `unix:/path`), or else a command line.
pub struct Target(pub(crate) Kind);

pub(crate) enum Kind {
    Url(String),
    Command(Command),
    Tcp(String),
    #[cfg(unix)]
    Unix(PathBuf),
    Streams(Box<dyn AsyncRead + Send + Unpin>, Box<dyn AsyncWrite + Send + Unpin>),
    #[cfg(feature = "server")]
    Host(std::sync::Arc<andon_server::host::Host>, andon_server::principal::Principal),
    /// What cannot be connected to, and why.
    Bad(String),
}

/// A program to start as a server. It inherits a few harmless variables of the environment (`PATH`, `HOME`, ...) and
/// those that are given, in the current folder unless another is given.
#[derive(Debug, Clone)]
pub struct Command {
    pub(crate) program: OsString,
    pub(crate) args: Vec<OsString>,
    pub(crate) environment: Vec<(OsString, OsString)>,
    pub(crate) masked: Vec<(String, String)>,
    pub(crate) inherits_environment: bool,
    pub(crate) folder: Option<PathBuf>,
    pub(crate) memory_bytes_max: Option<u64>,
    pub(crate) open_files_max: Option<u64>,
    pub(crate) processes_max: Option<u64>,
}

impl Command {
    /// What a program inherits of the environment unless it is told otherwise: enough to find programs and its own files, and no
    /// secrets.
    pub const INHERITED: [&str; 14] = [
        "HOME",
        "LANG",
        "LC_ALL",
        "LOGNAME",
        "PATH",
        "SHELL",
        "TERM",
        "TMPDIR",
        "USER",
        "APPDATA",
        "LOCALAPPDATA",
        "SYSTEMROOT",
        "TEMP",
        "USERPROFILE",
    ];

    /// This program.
    pub fn new(program: impl Into<OsString>) -> Self {
        Self {
            program: program.into(),
            args: Vec::new(),
            environment: Vec::new(),
            masked: Vec::new(),
            inherits_environment: false,
            folder: None,
            memory_bytes_max: None,
            open_files_max: None,
            processes_max: None,
        }
    }

    /// With these arguments, which no shell looks at.
    #[must_use]
    pub fn args<A: Into<OsString>>(mut self, args: impl IntoIterator<Item = A>) -> Self {
        self.args.extend(args.into_iter().map(Into::into));
        self
    }

    /// With this variable in its environment. In what is told of the server (its standard error, why it ended, errors) the
    /// value, if it has 8 bytes or more, is replaced by the name: `${NAME}`.
    #[must_use]
    pub fn env(mut self, name: impl Into<OsString>, value: impl Into<OsString>) -> Self {
        self.environment.push((name.into(), value.into()));
        self
    }

    /// With a value among its arguments, or in them, that is replaced by its name as those of its environment are: see
    /// [`Command::env`]. Whoever may list the processes of the system can read it all the same.
    #[must_use]
    pub fn mask(mut self, name: impl Into<String>, value: impl Into<String>) -> Self {
        self.masked.push((name.into(), value.into()));
        self
    }

    /// With all of this process's environment, secrets included.
    #[must_use]
    pub fn inherit_environment(mut self) -> Self {
        self.inherits_environment = true;
        self
    }

    /// Bytes of memory that it may map, and each of its own children: on Linux; elsewhere nothing happens. Programs with a
    /// garbage collector map far more than they use.
    #[must_use]
    pub fn memory_bytes_max(mut self, bytes: u64) -> Self {
        self.memory_bytes_max = Some(bytes);
        self
    }

    /// Files that it may have open, and each of its own children: on Linux; elsewhere nothing happens.
    #[must_use]
    pub fn open_files_max(mut self, files: u64) -> Self {
        self.open_files_max = Some(files);
        self
    }

    /// Processes and threads that the user who runs it may have in all when it, or one of its own children, starts another: on
    /// Linux; elsewhere, and for root, nothing happens (`RLIMIT_NPROC`).
    #[must_use]
    pub fn processes_max(mut self, processes: u64) -> Self {
        self.processes_max = Some(processes);
        self
    }

    /// In this folder.
    #[must_use]
    pub fn folder(mut self, folder: impl Into<PathBuf>) -> Self {
        self.folder = Some(folder.into());
        self
    }
}

impl Target {
    /// Anything that carries lines in both directions.
    pub fn streams(
        input: impl AsyncRead + Send + Unpin + 'static,
        output: impl AsyncWrite + Send + Unpin + 'static,
    ) -> Self {
        Self(Kind::Streams(Box::new(input), Box::new(output)))
    }
}

impl From<&str> for Target {
    fn from(text: &str) -> Self {
        let text = text.trim();
        if text.starts_with("http://") || text.starts_with("https://") {
            return Self(Kind::Url(text.to_owned()));
        }
        if let Some(address) = text.strip_prefix("tcp://") {
            return Self(Kind::Tcp(address.to_owned()));
        }
        #[cfg(unix)]
        if let Some(path) = text.strip_prefix("unix:") {
            return Self(Kind::Unix(path.strip_prefix("//").unwrap_or(path).into()));
        }
        match shlex::split(text).map(Vec::into_iter).and_then(|mut words| Some((words.next()?, words))) {
            Some((program, args)) => Self(Kind::Command(Command::new(program).args(args))),
            None => Self(Kind::Bad(format!("{text:?} is neither a URL nor a command line"))),
        }
    }
}

impl From<String> for Target {
    fn from(text: String) -> Self {
        text.as_str().into()
    }
}

impl From<&String> for Target {
    fn from(text: &String) -> Self {
        text.as_str().into()
    }
}

impl From<Command> for Target {
    fn from(command: Command) -> Self {
        Self(Kind::Command(command))
    }
}

#[cfg(feature = "server")]
impl From<andon_server::server::Server> for Target {
    fn from(server: andon_server::server::Server) -> Self {
        match server.build() {
            Ok(host) => host.into(),
            Err(error) => Self(Kind::Bad(format!("the server cannot be built: {error}"))),
        }
    }
}

#[cfg(feature = "server")]
impl From<std::sync::Arc<andon_server::host::Host>> for Target {
    fn from(host: std::sync::Arc<andon_server::host::Host>) -> Self {
        Self(Kind::Host(host, andon_server::principal::Principal::anonymous()))
    }
}

#[cfg(feature = "server")]
impl From<(std::sync::Arc<andon_server::host::Host>, andon_server::principal::Principal)> for Target {
    fn from((host, principal): (std::sync::Arc<andon_server::host::Host>, andon_server::principal::Principal)) -> Self {
        Self(Kind::Host(host, principal))
    }
}
