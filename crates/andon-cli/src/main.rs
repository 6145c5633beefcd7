//! The command `andon`.

mod client;
mod demo;
mod gateway;
#[cfg(unix)]
mod guard;
mod logs;
mod memory;
mod operators;
mod seal_keys;
mod sessions;
mod welcome;
#[cfg(unix)]
mod workers;

use std::io::IsTerminal as _;
use std::path::PathBuf;
use std::process::ExitCode;
#[cfg(unix)]
use std::sync::Arc;
use std::time::Duration;

use andon::http::{Admin, BindError};
use andon::prelude::{Http, Sessions};
#[cfg(unix)]
use andon::server::host::Host;
use andon::server::seal::SealKey;
#[cfg(unix)]
use andon::server::serve::Shutdown;
use andon::server::serve::{runtime, serve_until, terminated};
use andon::server::transport::Stdio;
use clap::{Args, CommandFactory as _, Parser, Subcommand, ValueEnum};
use client::{Deed, Peer};
#[cfg(unix)]
use futures_util::future::BoxFuture;

/// Gives back what a burst of clients needed, which the allocator of the system keeps.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

const EXIT_CODES: &str = "\
Exit codes of the client commands:
  0    done
  1    the tool failed, and said why
  2    the command line or the arguments are wrong; nothing was sent
  3    the server cannot be reached, does not answer in time, or sends what is not the protocol
  4    the server answered with an error
  5    the server wants a login, or other credentials
  130  interrupted";

/// A runtime for the Model Context Protocol.
#[derive(Parser)]
#[command(name = "andon", version, about, arg_required_else_help = true, after_help = EXIT_CODES)]
struct Andon {
    #[command(subcommand)]
    command: Command,
    /// How logs are written to standard error.
    #[arg(long, global = true, value_enum, default_value_t = LogFormat::Auto)]
    log_format: LogFormat,
    /// What is logged: error, warn, info, debug, trace, or a filter such as andon_http=debug.
    #[arg(long, global = true, default_value = "info", value_name = "FILTER")]
    log: String,
}

#[derive(Subcommand)]
enum Command {
    /// Serve the servers of an mcp.json to MCP clients as one; without a file, the built-in demo server.
    Serve(Serve),
    /// Say what is wrong with an mcp.json, and where.
    Check(gateway::Check),
    /// Show how the servers behind a running `andon serve FILE` fare.
    Upstreams(gateway::Upstreams),
    /// Trust the changed definitions of tools that are held back.
    Approve(gateway::Approve),
    /// List the tools of a server.
    Tools(Peer),
    /// Call a tool: `andon call URL TOOL key=value key:=JSON key=@file`.
    Call(Peer),
    /// List the resources and resource templates of a server.
    Resources(Peer),
    /// Read a resource: `andon read URL URI`.
    Read(Peer),
    /// List the prompts of a server.
    Prompts(Peer),
    /// Get a prompt: `andon prompt URL NAME key=value`.
    Prompt(Peer),
    /// Complete an argument: `andon complete URL PROMPT|URI-TEMPLATE ARGUMENT VALUE`.
    Complete(Peer),
    /// Print changes of lists, and of the resources that are named, as they happen.
    Listen(Peer),
    /// See whether a server answers, how fast, and which revision it speaks.
    Ping(Peer),
    /// Log in to a server in the browser, and keep the token.
    Login(Peer),
    /// Forget the token for a server.
    Logout(Peer),
    /// Look at the sessions of a running server, and end them.
    Sessions(sessions::Sessions),
    /// What `andon serve --workers N` starts.
    #[cfg(unix)]
    #[command(hide = true)]
    Worker(workers::Worker),
    /// What `andon serve FILE` starts.
    #[cfg(unix)]
    #[command(hide = true)]
    Guard(guard::Guard),
    /// Print shell completions.
    Completions {
        /// For which shell.
        shell: clap_complete::Shell,
    },
}

#[derive(Args)]
struct Serve {
    /// The file that names the servers, as other clients have it: mcp.json, claude_desktop_config.json, ...
    #[arg(value_name = "FILE")]
    file: Option<PathBuf>,
    /// A file with settings of Andon's own, beside those in FILE: JSON, or TOML if its name ends in `.toml`.
    #[arg(long, value_name = "FILE", requires = "file")]
    settings: Option<PathBuf>,
    /// The address to listen on; port 0 takes a free one.
    #[arg(long, default_value = "127.0.0.1:8080", value_name = "HOST:PORT", conflicts_with = "stdio")]
    listen: String,
    /// Serve the process that started this one, over its standard input and output.
    #[arg(long)]
    stdio: bool,
    /// Keep sessions in this directory, so that they survive restarts and crashes. Without it they are in memory. What the
    /// servers of FILE list is kept there too.
    #[arg(long, value_name = "DIR")]
    data: Option<PathBuf>,
    /// A file with the keys that protect what clients carry: cursors, and what calls want back with answers. One a line, 64 hexadecimal
    /// digits, newest first. Processes with the same keys go on with each other's calls. Without it there is one, which is kept in DIR.
    #[arg(long, value_name = "FILE", conflicts_with = "stdio")]
    seal_keys: Option<PathBuf>,
    /// A loopback address where operators can ask, as with `andon sessions` and `andon upstreams`. Its token is in DIR, or in ANDON_ADMIN_TOKEN.
    /// With --data they can come in by a socket in DIR anyway.
    #[arg(long, value_name = "HOST:PORT", conflicts_with = "stdio")]
    admin: Option<String>,
    /// Listen on an address that other machines reach. Put authentication in front.
    #[arg(long, conflicts_with = "stdio")]
    public: bool,
    /// Another name under which the server is reached; may be repeated.
    #[arg(long, value_name = "NAME", conflicts_with = "stdio")]
    allow_host: Vec<String>,
    /// An origin whose web pages may call the server, such as `https://app.example`; may be repeated.
    #[arg(long, value_name = "ORIGIN", conflicts_with = "stdio")]
    allow_origin: Vec<String>,
    /// Connections at once; more wait. Default 16,000, and with --workers as many as they may open files.
    #[arg(long, value_name = "COUNT", conflicts_with = "stdio", value_parser = clap::value_parser!(u32).range(1..))]
    connections_max: Option<u32>,
    /// Hold the connections of clients in so many processes beside this one, so that there may be more than one process may open
    /// files: 1 to 64, or `auto` for one per core.
    #[cfg(unix)]
    #[arg(long, value_name = "N", conflicts_with = "stdio", value_parser = workers::count)]
    workers: Option<u16>,
    #[command(flatten)]
    bounds: Bounds,
    /// How this process logs, in words of a command line.
    #[arg(skip)]
    logs: Vec<String>,
}

/// Whether there are sessions, how many there may be, and for how long.
#[derive(Clone, Copy, Args)]
struct Bounds {
    /// Keep no sessions: clients of 2025-11-25 and before send requests that stand alone, as later ones do, and each call may go to
    /// another process. They get no subscriptions, no changes, no logs, no questions from servers, and nothing to come back to.
    #[arg(long, conflicts_with_all = ["stdio", "sessions_max", "session_idle_timeout"])]
    stateless: bool,
    /// Sessions at once; beyond that, 503. Default 200,000.
    #[arg(long, value_name = "COUNT")]
    sessions_max: Option<usize>,
    /// How long a session without calls and connections is kept. Default 1800.
    #[arg(long, value_name = "SECONDS", value_parser = clap::value_parser!(u32).range(1..))]
    session_idle_timeout: Option<u32>,
}

#[derive(Clone, Copy, ValueEnum)]
enum LogFormat {
    /// For people on a terminal, JSON elsewhere.
    Auto,
    /// For people.
    Human,
    /// One JSON object a line.
    Json,
}

fn main() -> ExitCode {
    let andon = Andon::parse();
    let for_people = match andon.log_format {
        LogFormat::Auto => std::io::stderr().is_terminal(),
        LogFormat::Human => true,
        LogFormat::Json => false,
    };
    if let Err(why) = logs::start(&andon.log, for_people) {
        eprintln!("andon: {why}");
        return ExitCode::from(2);
    }
    let outcome = match andon.command {
        Command::Serve(mut serve) => {
            let format = if for_people { "human" } else { "json" };
            serve.logs = ["--log", andon.log.as_str(), "--log-format", format].map(str::to_owned).to_vec();
            run(serve)
        }
        Command::Check(check) => return check.run(),
        Command::Upstreams(upstreams) => return upstreams.run(),
        Command::Approve(approve) => return approve.run(),
        Command::Tools(peer) => return client::run(Deed::Tools, peer),
        Command::Call(peer) => return client::run(Deed::Call, peer),
        Command::Resources(peer) => return client::run(Deed::Resources, peer),
        Command::Read(peer) => return client::run(Deed::Read, peer),
        Command::Prompts(peer) => return client::run(Deed::Prompts, peer),
        Command::Prompt(peer) => return client::run(Deed::Prompt, peer),
        Command::Complete(peer) => return client::run(Deed::Complete, peer),
        Command::Listen(peer) => return client::run(Deed::Listen, peer),
        Command::Ping(peer) => return client::run(Deed::Ping, peer),
        Command::Login(peer) => return client::run(Deed::Login, peer),
        Command::Logout(peer) => return client::run(Deed::Logout, peer),
        Command::Sessions(sessions) => return sessions.run(),
        #[cfg(unix)]
        Command::Worker(worker) => worker.run(),
        #[cfg(unix)]
        Command::Guard(guard) => guard.run(),
        Command::Completions { shell } => {
            clap_complete::generate(shell, &mut Andon::command(), "andon", &mut std::io::stdout());
            Ok(())
        }
    };
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("andon: {error}");
            ExitCode::FAILURE
        }
    }
}

fn run(serve: Serve) -> andon::Result {
    let runtime = runtime()?;
    runtime.spawn(memory::give_back());
    let outcome = runtime.block_on(start(serve));
    // A read of standard input cannot be interrupted; it must not keep the process.
    runtime.shutdown_background();
    outcome
}

async fn start(serve: Serve) -> andon::Result {
    if let Some(file) = serve.file.clone() {
        return gateway::serve(file, serve).await;
    }
    let mut server = demo::server();
    if serve.stdio {
        return server.serve(Stdio).await;
    }
    server = server.sessions(serve.bounds.sessions(serve.data.clone()));
    if let Some(keys) = serve.keys()? {
        server = server.seal_keys(keys);
    }
    let http = serve.bind()?;
    let host = server.build()?;
    let found = host.recover().await;
    let found = found.map_err(|error| andon::Error::misuse(format!("the sessions cannot be read: {error}")))?;
    let admin = operators::admin(serve.data.as_deref(), serve.admin.as_deref())?;
    if let Some(directory) = serve.data.as_ref().filter(|_| !serve.bounds.stateless) {
        welcome::print_sessions(found, directory);
    }
    welcome::print_admin(&admin.addresses(), serve.data.as_deref());
    welcome::print(&http.url());
    serve_until(host, serve.behind(http, admin), asked_to_end()).await
}

/// Who holds the connections of clients.
#[cfg(unix)]
enum Port {
    Own(Http),
    Workers(workers::Workers),
}

#[cfg(unix)]
impl andon::server::serve::Serve for Port {
    fn serve(self, host: Arc<Host>, shutdown: Shutdown) -> BoxFuture<'static, andon::Result> {
        match self {
            Self::Own(http) => http.serve(host, shutdown),
            Self::Workers(workers) => workers.serve(host, shutdown),
        }
    }
}

/// Returns when the process is to end, and says so.
async fn asked_to_end() {
    terminated().await;
    tracing::info!("asked to end: nothing more is taken, and what is in flight is finished");
}

impl Serve {
    /// The keys that the command line names.
    fn keys(&self) -> andon::Result<Option<Vec<SealKey>>> {
        self.seal_keys.as_deref().map(seal_keys::read).transpose()
    }

    /// Listens as the command line says.
    fn bind(&self) -> andon::Result<Http> {
        let bound = if self.public { Http::bind_public(&self.listen) } else { Http::bind(&self.listen) };
        let bound = bound.map_err(|error| match error {
            BindError::Io(error) => andon::Error::io(format!("cannot listen at {}", self.listen), error),
            other => other.into(),
        });
        let mut http = bound?.take_on_thread();
        for name in &self.allow_host {
            http = http.allow_host(name);
        }
        for origin in &self.allow_origin {
            http = http.allow_origin(origin);
        }
        if let Some(connections_max) = self.connections_max {
            http = http.with_options(|options| options.connections_max = connections_max as usize);
        }
        Ok(http)
    }

    /// The port as the command line wants it served, beside the endpoint for operators.
    #[cfg(unix)]
    fn behind(&self, http: Http, admin: Admin) -> (Port, Admin) {
        let Some(count) = self.workers else { return (Port::Own(http), admin) };
        let workers = workers::Workers::new(http, count, self.connections_max, &self.logs);
        let admin = admin.with("workers", workers.shown());
        (Port::Workers(workers), admin)
    }

    #[cfg(not(unix))]
    fn behind(&self, http: Http, admin: Admin) -> (Http, Admin) {
        (http, admin)
    }
}

impl Bounds {
    /// Sessions in `folder`, or else in memory, as the command line wants them.
    fn sessions(self, folder: Option<PathBuf>) -> Sessions {
        let mut sessions = match folder {
            None => Sessions::memory(),
            Some(folder) => Sessions::disk(folder),
        };
        if self.stateless {
            sessions = sessions.stateless();
        }
        if let Some(sessions_max) = self.sessions_max {
            sessions = sessions.max(sessions_max);
        }
        if let Some(seconds) = self.session_idle_timeout {
            sessions = sessions.idle_timeout(Duration::from_secs(seconds.into()));
        }
        sessions
    }
}
