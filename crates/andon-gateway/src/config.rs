//! The file that names the servers, as the well-known clients write it, and what Andon adds to it.
//!
//! `mcpServers` is what most clients call the object of servers, `servers` is what VS Code calls it. Andon's own settings
//! are in an object `andon`, at the top for all servers and in a server for that one; or in a file of their own, which may
//! be TOML.

mod expand;
mod fields;
mod sense;
mod settings;

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::fmt;
use std::path::{Path, PathBuf};

use andon_client::Command;

use crate::jsonc::{self, Kind, Node};
use crate::names;
use crate::tables;
use fields::{Fields, Report};

pub use crate::jsonc::Position;
pub use settings::{Mode, Patterns, Policy, Retry, Settings};

/// Bytes of one file.
const FILE_BYTES_MAX: u64 = 1 << 20;
/// Servers in one file.
const SERVERS_MAX: usize = 256;
/// Characters of a server's name.
const NAME_CHARS_MAX: usize = 64;
/// What other clients say of a server and what means nothing here.
const FOREIGN: [&str; 9] =
    ["alwaysAllow", "autoApprove", "description", "dev", "gallery", "icon", "name", "trust", "version"];

/// Variables that are no secrets, beside those that programs inherit.
const OPEN: [&str; 2] = ["HOSTNAME", "PWD"];

/// How grave a finding is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Severity {
    /// The file is used all the same.
    Warning,
    /// The file is not used.
    Error,
}

/// Something about a file that its author should know.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Finding {
    /// The file.
    pub file: PathBuf,
    /// Where; the beginning, if it is about the whole file.
    pub at: Position,
    /// How grave.
    pub severity: Severity,
    /// What, in words. Never a value from the file that could be a secret.
    pub message: String,
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let severity = match self.severity {
            Severity::Warning => "warning",
            Severity::Error => "error",
        };
        match self.at {
            Position::NONE => write!(f, "{}: {severity}: {}", self.file.display(), self.message),
            at => write!(f, "{}:{at}: {severity}: {}", self.file.display(), self.message),
        }
    }
}

/// All servers, in the order of the file.
#[derive(Clone, PartialEq)]
pub struct Config {
    /// The servers.
    pub servers: Vec<Server>,
    /// How many there would be if nothing were wrong with any: what clients call things does not depend on who is left out.
    pub named: usize,
    /// What holds for servers that say nothing themselves.
    pub defaults: Settings,
}

/// One server.
#[derive(Clone, PartialEq)]
pub struct Server {
    /// Its name: 1 to 64 characters.
    pub name: String,
    /// Where it is.
    pub place: Place,
    /// How it is treated.
    pub settings: Settings,
}

/// Where a server is. What may be a secret is in no log: there is no `Debug`.
#[derive(Clone, PartialEq)]
pub enum Place {
    /// A program to start, without a shell.
    Child {
        /// The program.
        program: String,
        /// Its arguments.
        args: Vec<String>,
        /// Variables of its environment, beside a few harmless ones that it inherits.
        env: BTreeMap<String, String>,
        /// The folder that it starts in.
        folder: Option<PathBuf>,
        /// Variables that its arguments contain: what is told of it has their names instead.
        masked: BTreeMap<String, String>,
    },
    /// A URL.
    Remote {
        /// `http:` or `https:`.
        url: String,
        /// Headers of every request.
        headers: BTreeMap<String, String>,
    },
}

impl Place {
    /// Whether its process is Andon's.
    pub(crate) fn is_child(&self) -> bool {
        matches!(self, Self::Child { .. })
    }
}

/// What a file says, and what is to be said about it.
pub struct Checked {
    /// `None` if there is an error among the findings.
    pub config: Option<Config>,
    /// The same without the servers about which there is an error; `None` if there is one about more than a server.
    pub sound: Option<Config>,
    /// By place.
    pub findings: Vec<Finding>,
}

impl Checked {
    fn none(finding: Finding) -> Self {
        Self { config: None, sound: None, findings: vec![finding] }
    }
}

/// Reads `file` and, if there is one, the file with Andon's own `settings`, which is TOML if its name ends in `.toml`;
/// variables are those of this process.
pub fn read(file: &Path, settings: Option<&Path>) -> Checked {
    let lookup = |name: &str| std::env::var(name).ok();
    let text = match text_of(file) {
        Ok(text) => text,
        Err(finding) => return Checked::none(finding),
    };
    let own = match settings.map(|path| text_of(path).map(|text| (path, text))).transpose() {
        Ok(own) => own,
        Err(finding) => return Checked::none(finding),
    };
    check((file, &text), own.as_ref().map(|(path, text)| (*path, text.as_str())), &lookup)
}

fn text_of(file: &Path) -> Result<String, Finding> {
    let wrong =
        |why: String| Finding { file: file.to_owned(), at: Position::NONE, severity: Severity::Error, message: why };
    let about = std::fs::metadata(file).map_err(|error| wrong(format!("cannot be read: {error}")))?;
    if about.len() > FILE_BYTES_MAX {
        return Err(wrong(format!("is larger than {FILE_BYTES_MAX} bytes")));
    }
    std::fs::read_to_string(file).map_err(|error| wrong(format!("cannot be read: {error}")))
}

/// The same for texts that were read already.
fn check(file: (&Path, &str), own: Option<(&Path, &str)>, lookup: &expand::Lookup<'_>) -> Checked {
    let mut report = Report::new(file.0);
    let own_node = own.and_then(|(path, text)| report.within(path, |report| report.parsed(parse_own(path, text))));
    let config = report
        .parsed(jsonc::parse(file.1))
        .and_then(|node| whole(&node, own.map(|(path, _)| path).zip(own_node.as_ref()), lookup, &mut report));
    let errors = report.errors();
    let sound = config.filter(|_| errors == report.of_servers);
    let mut findings = report.findings;
    findings.sort_by(|a, b| (&a.file, a.at).cmp(&(&b.file, b.at)));
    Checked { config: sound.clone().filter(|_| errors == 0), sound, findings }
}

fn parse_own(path: &Path, text: &str) -> Result<Node, (Position, String)> {
    let is_toml = path.extension().is_some_and(|extension| extension.eq_ignore_ascii_case("toml"));
    if is_toml { tables::parse(text) } else { jsonc::parse(text) }
}

fn whole(node: &Node, own: Option<(&Path, &Node)>, lookup: &expand::Lookup<'_>, report: &mut Report) -> Option<Config> {
    let mut top = Fields::of(node, "the file", report)?;
    let mut defaults = Settings::default();
    if let Some(node) = top.take("andon") {
        settings::read(node, "\"andon\"", &mut defaults, settings::Whose::All, report);
    }
    let mut of_servers = BTreeMap::new();
    if let Some((path, node)) = own {
        report.within(path, |report| {
            settings::read_own(node, &mut defaults, &mut of_servers, report);
            Some(())
        });
    }
    top.take("$schema");
    // They ask a person, whose answer may be known before.
    let inputs = top.take("inputs").map(|node| inputs(node, report)).unwrap_or_default();
    let lookup = &|name: &str| inputs.get(name).cloned().or_else(|| lookup(name));
    let (mut servers, mut places) = (Vec::new(), Vec::new());
    let (mut is_there, mut named) = (false, 0);
    for name in ["mcpServers", "servers"] {
        let Some(node) = top.take(name) else { continue };
        is_there = true;
        let Some(members) = fields::object(node, name, report) else { continue };
        for member in members {
            let (mut settings, errors) = (defaults.clone(), report.errors());
            if let Some((path, own)) = own.map(|(path, _)| path).zip(of_servers.remove(&member.name)) {
                report.within(path, |report| {
                    let what = format!("{:?}", member.name);
                    settings::read(&own.value, &what, &mut settings, settings::Whose::One, report);
                    Some(())
                });
            }
            let server = server(member, settings, lookup, report);
            named += usize::from(!is_off(&member.value));
            let is_sound = report.errors() == errors;
            report.of_servers += report.errors() - errors;
            if let Some(server) = server.filter(|_| is_sound) {
                servers.push(server);
                places.push(member.at);
            }
        }
    }
    if !is_there {
        report.error(node.at, "there are no servers: an object \"mcpServers\" (or \"servers\") names them");
    } else if named == 0 {
        report.warn(node.at, "there are no servers, or all are disabled: clients find nothing");
    }
    top.finish("the file", report);
    if let Some((path, _)) = own {
        report.within(path, |report| {
            for (name, member) in &of_servers {
                report.warn(member.at, format!("there are settings for {name:?}, which is no server"));
            }
            Some(())
        });
    }
    if servers.len() > SERVERS_MAX {
        report.error(node.at, format!("there are more than {SERVERS_MAX} servers"));
    }
    collisions(&servers, &places, report);
    Some(Config { servers, named, defaults })
}

/// Two servers whose names look the same to clients could not be told apart. Nor could some of their tools, if the prefix
/// of one begins like that of the other.
fn collisions(servers: &[Server], places: &[Position], report: &mut Report) {
    for (index, (server, at)) in servers.iter().zip(places).enumerate() {
        for other in &servers[..index] {
            let both = format!("the servers {:?} and {:?}", other.name, server.name);
            let given = [&server.settings.prefix, &other.settings.prefix];
            let [own, others] = [server, other].map(|server| server.settings.prefix_of(&server.name));
            let is_unclear = own.starts_with(&others) || others.starts_with(&own);
            if names::plain(&server.name) == names::plain(&other.name) {
                report.error(*at, format!("{both} have the same name for clients"));
            } else if given == [&None, &None] && own == others {
                report.error(*at, format!("{both} have the same prefix, {own:?}: give one another \"prefix\""));
            } else if given != [&None, &None] && is_unclear && !own.is_empty() && !others.is_empty() {
                let why = "what of one has a name of the other is left out";
                report.warn(*at, format!("{both} have prefixes that begin alike, {others:?} and {own:?}: {why}"));
            }
        }
    }
}

fn server(
    member: &jsonc::Member,
    mut settings: Settings,
    lookup: &expand::Lookup<'_>,
    report: &mut Report,
) -> Option<Server> {
    let name = member.name.clone();
    let what = format!("the server {name:?}");
    if name.is_empty() || name.chars().count() > NAME_CHARS_MAX || name.chars().any(char::is_control) {
        report.error(member.at, format!("a server's name has 1 to {NAME_CHARS_MAX} characters"));
        return None;
    }
    let mut fields = Fields::of(&member.value, &what, report)?;
    if let Some(node) = fields.take("andon") {
        let what = format!("\"andon\" of {what}");
        settings::read(node, &what, &mut settings, settings::Whose::One, report);
    }
    let is_off = fields.take("disabled").is_some_and(|node| fields::flag(node, "disabled", report) == Some(true))
        | fields.take("enabled").is_some_and(|node| fields::flag(node, "enabled", report) == Some(false));
    let kind = fields.take("type").or_else(|| fields.take("transport"));
    if let Some(node) = fields.take("timeout") {
        report
            .warn(node.at, "\"timeout\" has another unit in each client, and is not used: \"andon\" has \"timeout_s\"");
    }
    let texts = Texts { lookup };
    let command = fields.take("command");
    let program = command.and_then(|node| texts.one(node, "command", report));
    let masked = RefCell::new(BTreeMap::new());
    let args = fields.take("args").map(|node| {
        let lookup = |name: &str| {
            let value = lookup(name)?;
            if !OPEN.contains(&name) && !Command::INHERITED.contains(&name) {
                masked.borrow_mut().insert(name.to_owned(), value.clone());
            }
            Some(value)
        };
        Texts { lookup: &lookup }.list(node, "args", report)
    });
    let args = args.unwrap_or_default();
    let env = environment(&mut fields, &texts, report);
    let folder = fields.take("cwd").and_then(|node| {
        let folder = PathBuf::from(texts.one(node, "cwd", report)?);
        if !folder.is_dir() {
            report.warn(node.at, "\"cwd\" is no folder");
        }
        Some(folder)
    });
    if let (Some(node), Some(program)) = (command, program.as_deref().filter(|program| !program.is_empty())) {
        sense::check_program(node, (program, !args.is_empty()), (&env, folder.as_deref()), lookup, report);
    }
    let url = ["url", "serverUrl", "httpUrl"].into_iter().filter_map(|name| fields.take(name)).next();
    let is_placed = command.is_some() || url.is_some();
    let url = url.and_then(|node| Some((node.at, texts.one(node, "url", report)?)));
    let headers = fields.take("headers").map(|node| {
        let headers = texts.map(node, "headers", report);
        sense::check_headers(node, &headers, report);
        headers
    });
    let headers = headers.unwrap_or_default();
    for name in FOREIGN {
        fields.take(name);
    }
    fields.finish(&what, report);
    if let Some(node) = kind {
        check_kind(node, &what, program.is_some(), report);
    }
    let place = match (program, url) {
        (Some(program), None) if program.is_empty() => {
            report.error(member.at, format!("{what} has an empty \"command\""));
            return None;
        }
        (Some(program), None) => Place::Child { program, args, env, folder, masked: masked.into_inner() },
        (None, Some((at, url))) => {
            check_url(at, &url, report);
            Place::Remote { url, headers }
        }
        (Some(_), Some((at, _))) => {
            report.error(at, format!("{what} has both \"command\" and \"url\""));
            return None;
        }
        // What is wrong with it was said.
        (None, None) if is_placed => return None,
        (None, None) => {
            report.error(member.at, format!("{what} has neither \"command\" nor \"url\""));
            return None;
        }
    };
    (!is_off).then_some(Server { name, place, settings })
}

/// What `inputs` are called where they are used, and what they are if nobody says anything else.
fn inputs(node: &Node, report: &mut Report) -> BTreeMap<String, String> {
    let Kind::List(nodes) = &node.kind else {
        report.warn(node.at, format!("\"inputs\" is a list, and this is {}", node.kind.noun()));
        return BTreeMap::new();
    };
    let mut known = BTreeMap::new();
    for node in nodes {
        let Kind::Object(members) = &node.kind else { continue };
        let text = |name: &str| {
            members.iter().find(|member| member.name == name).and_then(|member| match &member.value.kind {
                Kind::Text(text) => Some(text.clone()),
                _ => None,
            })
        };
        // Where one that has none is used, that is the error.
        if let Some((id, default)) = text("id").zip(text("default")) {
            known.insert(format!("input:{id}"), default);
        }
    }
    known
}

/// Whether a server is not to be served, whatever else is said of it.
fn is_off(server: &Node) -> bool {
    let Kind::Object(members) = &server.kind else { return false };
    members.iter().any(|member| match (member.name.as_str(), &member.value.kind) {
        ("disabled", Kind::Bool(is_disabled)) => *is_disabled,
        ("enabled", Kind::Bool(is_enabled)) => !is_enabled,
        _ => false,
    })
}

/// What a server's program has in its environment: `env`, and what a file says beside that.
fn environment(fields: &mut Fields<'_>, texts: &Texts<'_>, report: &mut Report) -> BTreeMap<String, String> {
    let mut env = BTreeMap::new();
    if let Some(node) = fields.take("envFile")
        && let Some(file) = texts.one(node, "envFile", report)
    {
        match sense::read_env(Path::new(&file)) {
            Ok(variables) => env = variables,
            Err(why) => report.error(node.at, why),
        }
    }
    if let Some(node) = fields.take("env") {
        let own = texts.map(node, "env", report);
        sense::check_env(node, &own, report);
        env.extend(own);
    }
    env
}

fn check_kind(node: &Node, what: &str, is_child: bool, report: &mut Report) {
    let Some(kind) = fields::text(node, "type", report) else { return };
    let fits = match kind {
        "stdio" => is_child,
        "http" | "sse" | "streamable-http" | "streamableHttp" | "streamable_http" => !is_child,
        _ => return report.error(node.at, "\"type\" is stdio, http or sse"),
    };
    if !fits {
        let needs = if is_child { "\"url\"" } else { "\"command\"" };
        report.error(node.at, format!("{what} has \"type\": {kind:?}, but no {needs}"));
    }
}

fn check_url(at: Position, url: &str, report: &mut Report) {
    match url::Url::parse(url) {
        Err(error) => report.error(at, format!("\"url\" cannot be read: {error}")),
        Ok(url) if !matches!(url.scheme(), "http" | "https") => report.error(at, "\"url\" begins with http: or https:"),
        Ok(url) if !url.username().is_empty() || url.password().is_some() => {
            report.error(at, "\"url\" has a user name or password: use \"headers\"");
        }
        Ok(_) => {}
    }
}

/// Texts with variables in them.
struct Texts<'a> {
    lookup: &'a expand::Lookup<'a>,
}

impl Texts<'_> {
    fn one(&self, node: &Node, what: &str, report: &mut Report) -> Option<String> {
        let text = fields::text(node, what, report)?;
        match expand::expand(text, self.lookup) {
            Ok(text) => Some(text),
            Err(why) => {
                report.error(node.at, why);
                None
            }
        }
    }

    fn list(&self, node: &Node, what: &str, report: &mut Report) -> Vec<String> {
        match &node.kind {
            Kind::List(nodes) => nodes.iter().filter_map(|node| self.one(node, what, report)).collect(),
            other => {
                report.error(node.at, format!("\"{what}\" is a list of texts, and this is {}", other.noun()));
                Vec::new()
            }
        }
    }

    fn map(&self, node: &Node, what: &str, report: &mut Report) -> BTreeMap<String, String> {
        let members = fields::object(node, what, report).unwrap_or_default();
        members
            .iter()
            .filter_map(|member| {
                // Numbers and flags are what people mean by their text.
                let value = match &member.value.kind {
                    Kind::Number(number) => Some(number.clone()),
                    Kind::Bool(flag) => Some(flag.to_string()),
                    _ => self.one(&member.value, &member.name, report),
                };
                Some((member.name.clone(), value?))
            })
            .collect()
    }
}

#[cfg(test)]
mod tests;
