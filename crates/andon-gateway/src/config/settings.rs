//! Andon's own settings of a server, with their units and defaults.

use std::collections::BTreeMap;
use std::time::Duration;

use andon_types::client::Root;
use andon_types::revision::Revision;

use super::fields::{self, Fields, Report};
use crate::breaker::Thresholds;
use crate::catalogue::Catalogue;
use crate::jsonc::{Kind, Member, Node};
use crate::names;
use crate::restarts::Intensity;

/// Who shares a conversation with the server.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mode {
    /// All clients: one process, or one session, for everybody.
    Shared,
    /// Nobody: each session has its own. Clients without sessions (2026-07-28) have one for each principal.
    Session,
    /// The sessions of one principal.
    Principal,
}

/// What is called again when the server ended during a call.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Retry {
    /// Nothing.
    Never,
    /// Once, tools that say that twice is as good as once: `readOnlyHint` or `idempotentHint`.
    Idempotent,
}

/// What happens when a server changes the definition of a tool behind one's back.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Policy {
    /// The change is logged.
    Log,
    /// The tool is not there until the change is approved.
    Hold,
}

/// Names that are let through: those of `allow`, all if it is empty, without those of `deny`. A `*` is any text.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Patterns {
    /// Let through.
    pub allow: Vec<String>,
    /// Held back.
    pub deny: Vec<String>,
    /// Those of them that are said of this server, and not of all.
    pub own: Vec<String>,
}

/// How a server is treated.
#[derive(Debug, Clone, PartialEq)]
pub struct Settings {
    /// Default: each session its own over stdio, where there is only one, and shared over HTTP.
    pub mode: Option<Mode>,
    /// What the names of its tools and prompts begin with. Default: nothing if it is the only server, else its name and
    /// `__`.
    pub prefix: Option<String>,
    /// Speaks this revision to it and no other. Default: the newest that a server at a URL knows; of a program the newest
    /// before 2026-07-28 if it knows one, because more of what programs ask works there.
    pub protocol: Option<Revision>,
    /// How long a call may take since its beginning or its last progress. Default 5 min.
    pub timeout: Duration,
    /// How long a call may take in all. Default 1 h.
    pub timeout_max: Duration,
    /// How long it may take to start, with everything that it installs. Default 2 min.
    pub start_timeout: Duration,
    /// How long a list waits for servers that are just starting. Default 2 s.
    pub list_wait: Duration,
    /// How often it is asked whether it is there, while nothing is in flight. Default 30 s.
    pub ping_interval: Duration,
    /// Calls in flight at once. Default 64.
    pub in_flight_max: usize,
    /// Conversations at once, in the modes `session` and `principal`. Default 32.
    pub instances_max: usize,
    /// How long one of them may be idle before it is ended; it begins again when it is needed. Default 10 min.
    pub idle_timeout: Duration,
    /// Default: never.
    pub retry: Retry,
    /// Default: changes are logged.
    pub definitions: Policy,
    /// Which of its tools there are.
    pub tools: Patterns,
    /// Which of its prompts there are.
    pub prompts: Patterns,
    /// Which of its resources there are, by URI.
    pub resources: Patterns,
    /// Other names for its tools, by their own.
    pub rename: BTreeMap<String, String>,
    /// Other descriptions of its tools, by their own names.
    pub describe: BTreeMap<String, String>,
    /// What it is told when it asks for roots and no client can be asked.
    pub roots: Vec<Root>,
    /// When it is given a rest.
    pub breaker: Thresholds,
    /// How often it is restarted.
    pub restarts: Intensity,
    /// Bytes of memory that its process may map. Default: no limit.
    pub memory_bytes_max: Option<u64>,
    /// Files that its process may have open. Default: what the system says.
    pub open_files_max: Option<u64>,
    /// Processes that the user may have when it starts another.
    pub processes_max: Option<u64>,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            mode: None,
            prefix: None,
            protocol: None,
            timeout: Duration::from_secs(5 * 60),
            timeout_max: Duration::from_secs(60 * 60),
            start_timeout: Duration::from_secs(120),
            list_wait: Duration::from_secs(2),
            ping_interval: Duration::from_secs(30),
            in_flight_max: 64,
            instances_max: 32,
            idle_timeout: Duration::from_secs(600),
            retry: Retry::Never,
            definitions: Policy::Log,
            tools: Patterns::default(),
            prompts: Patterns::default(),
            resources: Patterns::default(),
            rename: BTreeMap::new(),
            describe: BTreeMap::new(),
            roots: Vec::new(),
            breaker: Thresholds::default(),
            restarts: Intensity::default(),
            memory_bytes_max: None,
            open_files_max: None,
            processes_max: None,
        }
    }
}

impl Settings {
    /// What names of the server with this name begin with where there are several.
    pub(crate) fn prefix_of(&self, server: &str) -> String {
        self.prefix.clone().unwrap_or_else(|| names::prefix(server))
    }

    /// Whether a server that is treated so can be treated as `next` says without being started anew: what differs is looked at
    /// each time that it is needed.
    pub(crate) fn runs_on_as(&self, next: &Self) -> bool {
        let is_same_start = self.at_start() == next.at_start();
        // A tool whose own name is none is not kept unless it has another.
        let needed = |settings: &Self| -> Vec<String> {
            settings.rename.keys().filter(|own| names::problem(own).is_some()).cloned().collect()
        };
        is_same_start && needed(self) == needed(next)
    }

    /// What holds for as long as a server runs. (Its mode does too, which may be said elsewhere.)
    fn at_start(&self) -> Self {
        let own = self.clone();
        Self {
            protocol: own.protocol,
            ping_interval: own.ping_interval,
            in_flight_max: own.in_flight_max,
            definitions: own.definitions,
            roots: own.roots,
            breaker: own.breaker,
            restarts: own.restarts,
            memory_bytes_max: own.memory_bytes_max,
            open_files_max: own.open_files_max,
            processes_max: own.processes_max,
            ..Self::default()
        }
    }

    /// Names in what is said of tools, prompts and resources that are none of `catalogue`, and what is wrong with them.
    pub(crate) fn idle_words(&self, prefix: &str, catalogue: &Catalogue) -> Vec<String> {
        let tools: Vec<&str> = catalogue.tools.iter().map(|tool| tool.name.as_str()).collect();
        let prompts: Vec<&str> = catalogue.prompts.iter().map(|prompt| prompt.name.as_str()).collect();
        let renamed = self.rename.keys().map(|own| ("rename", own));
        let described = self.describe.keys().map(|own| ("describe", own));
        let of_tools = self.tools.own.iter().map(|pattern| ("tools", pattern)).chain(renamed).chain(described);
        let of_prompts = self.prompts.own.iter().map(|pattern| ("prompts", pattern));
        let idle = |(said, pattern): (&str, &String), known: &[&str]| {
            // One that lists nothing may not be able to now.
            if known.is_empty() || known.iter().any(|name| fits(pattern, name)) {
                return None;
            }
            let own = pattern
                .strip_prefix(prefix)
                .filter(|own| !prefix.is_empty() && known.iter().any(|name| fits(own, name)));
            match own {
                Some(own) => {
                    Some(format!("{said:?} names {pattern:?}: here stand the server's own names, such as {own:?}"))
                }
                // Whoever writes a pattern may mean what is not there yet.
                None => (!pattern.contains('*'))
                    .then(|| format!("{said:?} names {pattern:?}, which the server does not have")),
            }
        };
        of_tools
            .filter_map(|word| idle(word, &tools))
            .chain(of_prompts.filter_map(|word| idle(word, &prompts)))
            .collect()
    }
}

impl Patterns {
    /// Whether `name` is let through.
    pub fn permit(&self, name: &str) -> bool {
        let any = |patterns: &[String]| patterns.iter().any(|pattern| fits(pattern, name));
        (self.allow.is_empty() || any(&self.allow)) && !any(&self.deny)
    }
}

/// Whether `name` is `pattern`, in which each `*` is any text.
fn fits(pattern: &str, name: &str) -> bool {
    let mut pieces = pattern.split('*');
    let first = pieces.next().unwrap_or_default();
    let Some(mut rest) = name.strip_prefix(first) else { return false };
    let mut pieces = pieces.peekable();
    if pieces.peek().is_none() {
        return rest.is_empty();
    }
    while let Some(piece) = pieces.next() {
        if pieces.peek().is_none() {
            return rest.ends_with(piece);
        }
        match rest.find(piece) {
            Some(index) => rest = &rest[index + piece.len()..],
            None => return false,
        }
    }
    true
}

/// Whom settings are for.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Whose {
    All,
    One,
}

/// A file of settings: those of all servers and, in `servers`, those of each.
pub(super) fn read_own<'a>(
    node: &'a Node,
    defaults: &mut Settings,
    of_servers: &mut BTreeMap<String, &'a Member>,
    report: &mut Report,
) {
    let Some(mut fields) = Fields::of(node, "the file", report) else { return };
    if let Some(node) = fields.take("servers") {
        let members = fields::object(node, "servers", report).unwrap_or_default();
        of_servers.extend(members.iter().map(|member| (member.name.clone(), member)));
    }
    read_fields(fields, "the file", defaults, Whose::All, report);
}

/// Overlays `settings` with what `node` says, which is called `what`.
pub(super) fn read(node: &Node, what: &str, settings: &mut Settings, whose: Whose, report: &mut Report) {
    if let Some(fields) = Fields::of(node, what, report) {
        read_fields(fields, what, settings, whose, report);
    }
}

fn read_fields(mut fields: Fields<'_>, what: &str, settings: &mut Settings, whose: Whose, report: &mut Report) {
    let mut taker = Taker { fields: &mut fields, report };
    taker.choice(
        "mode",
        &mut settings.mode,
        &[("shared", Some(Mode::Shared)), ("session", Some(Mode::Session)), ("principal", Some(Mode::Principal))],
    );
    taker.choice("retry", &mut settings.retry, &[("never", Retry::Never), ("idempotent", Retry::Idempotent)]);
    taker.choice("definitions", &mut settings.definitions, &[("log", Policy::Log), ("hold", Policy::Hold)]);
    let revisions = Revision::ALL.map(|revision| (revision.as_str(), Some(revision)));
    taker.choice("protocol", &mut settings.protocol, &revisions);
    taker.seconds("timeout_s", &mut settings.timeout);
    taker.seconds("timeout_max_s", &mut settings.timeout_max);
    taker.seconds("start_timeout_s", &mut settings.start_timeout);
    taker.seconds("list_wait_s", &mut settings.list_wait);
    taker.seconds("ping_interval_s", &mut settings.ping_interval);
    taker.seconds("idle_timeout_s", &mut settings.idle_timeout);
    taker.count("in_flight_max", &mut settings.in_flight_max);
    taker.count("instances_max", &mut settings.instances_max);
    taker.count("breaker_failures", &mut settings.breaker.failures);
    taker.count("breaker_successes", &mut settings.breaker.successes);
    taker.seconds("breaker_rest_s", &mut settings.breaker.rest);
    taker.count("restarts_max", &mut settings.restarts.most);
    taker.seconds("restarts_within_s", &mut settings.restarts.within);
    taker.seconds("park_s", &mut settings.restarts.park);
    let (mut memory_mb, mut files, mut processes) = (0, 0, 0);
    taker.count("memory_mb_max", &mut memory_mb);
    taker.count("open_files_max", &mut files);
    taker.count("processes_max", &mut processes);
    settings.memory_bytes_max = (memory_mb > 0).then_some((memory_mb as u64) << 20).or(settings.memory_bytes_max);
    settings.open_files_max = (files > 0).then_some(files as u64).or(settings.open_files_max);
    settings.processes_max = (processes > 0).then_some(processes as u64).or(settings.processes_max);
    taker.patterns("tools", whose, &mut settings.tools);
    taker.patterns("prompts", whose, &mut settings.prompts);
    taker.patterns("resources", whose, &mut settings.resources);
    if let Some(node) = taker.fields.take("roots") {
        settings.roots = taker.texts(node, "roots").into_iter().map(|uri| Root { uri, name: None }).collect();
    }
    if whose == Whose::One {
        taker.names("rename", &mut settings.rename);
        taker.map("describe", &mut settings.describe);
        if let Some(node) = taker.fields.take("prefix") {
            taker.prefix(node, &mut settings.prefix);
        }
    }
    fields.finish(what, report);
}

/// Takes members of the kinds that there are.
struct Taker<'r, 'f, 'a> {
    fields: &'f mut Fields<'a>,
    report: &'r mut Report,
}

impl Taker<'_, '_, '_> {
    fn choice<T: Copy>(&mut self, name: &str, into: &mut T, known: &[(&str, T)]) {
        let Some(node) = self.fields.take(name) else { return };
        let Some(text) = fields::text(node, name, self.report) else { return };
        match known.iter().find(|(word, _)| *word == text) {
            Some((_, value)) => *into = *value,
            None => {
                let words: Vec<&str> = known.iter().map(|(word, _)| *word).collect();
                self.report.error(node.at, format!("\"{name}\" is one of {}", words.join(", ")));
            }
        }
    }

    fn number(&mut self, name: &str) -> Option<f64> {
        const MOST: f64 = 10_000_000.0;
        let node = self.fields.take(name)?;
        let number = match &node.kind {
            Kind::Number(number) => number.parse().ok().filter(|number| *number > 0.0 && *number <= MOST),
            _ => None,
        };
        if number.is_none() {
            self.report.error(node.at, format!("\"{name}\" is a number above 0 and up to {MOST}"));
        }
        number
    }

    fn seconds(&mut self, name: &str, into: &mut Duration) {
        if let Some(seconds) = self.number(name) {
            *into = Duration::from_secs_f64(seconds);
        }
    }

    #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "it is positive and has a bound")]
    fn count(&mut self, name: &str, into: &mut usize) {
        if let Some(number) = self.number(name) {
            *into = (number as usize).max(1);
        }
    }

    fn texts(&mut self, node: &Node, what: &str) -> Vec<String> {
        let Kind::List(nodes) = &node.kind else {
            self.report.error(node.at, format!("\"{what}\" is a list of texts, and this is {}", node.kind.noun()));
            return Vec::new();
        };
        nodes.iter().filter_map(|node| fields::text(node, what, self.report).map(str::to_owned)).collect()
    }

    fn map(&mut self, name: &str, into: &mut BTreeMap<String, String>) {
        let Some(node) = self.fields.take(name) else { return };
        for member in fields::object(node, name, self.report).unwrap_or_default() {
            if let Some(text) = fields::text(&member.value, &member.name, self.report) {
                into.insert(member.name.clone(), text.to_owned());
            }
        }
    }

    /// The same, where the texts are names of tools.
    fn names(&mut self, name: &str, into: &mut BTreeMap<String, String>) {
        let Some(node) = self.fields.take(name) else { return };
        for member in fields::object(node, name, self.report).unwrap_or_default() {
            let Some(text) = fields::text(&member.value, &member.name, self.report) else { continue };
            if let Some(why) = names::problem(text) {
                self.report.error(member.value.at, format!("{:?} cannot be called that: {why}", member.name));
            } else if into.iter().any(|(other, known)| known == text && *other != member.name) {
                self.report.error(member.value.at, format!("two tools would be called {text:?}"));
            } else {
                into.insert(member.name.clone(), text.to_owned());
            }
        }
    }

    fn patterns(&mut self, name: &str, whose: Whose, into: &mut Patterns) {
        let Some(node) = self.fields.take(name) else { return };
        let Some(mut inner) = Fields::of(node, name, self.report) else { return };
        into.own.clear();
        for (list, of) in [("allow", &mut into.allow), ("deny", &mut into.deny)] {
            if let Some(node) = inner.take(list) {
                *of = self.texts(node, list);
                if whose == Whose::One {
                    into.own.extend(of.iter().cloned());
                }
            }
        }
        // A word that is misspelt would let through what it was to keep back.
        inner.finish_strictly(&format!("{name:?}"), self.report);
    }

    fn prefix(&mut self, node: &Node, into: &mut Option<String>) {
        let Some(text) = fields::text(node, "prefix", self.report) else { return };
        if text.len() <= 64 && text.bytes().all(names::is_plain) {
            *into = Some(text.to_owned());
        } else {
            self.report.error(node.at, "\"prefix\" has at most 64 of A-Z a-z 0-9 _ - .");
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use serde_json::{from_value, json};

    use super::{Catalogue, Duration, Mode, Patterns, Root, Settings, fits};

    #[test]
    fn a_star_is_any_text() {
        let check = |pattern: &str, name: &str, expected: bool| assert_eq!(fits(pattern, name), expected, "{pattern}");
        check("read", "read", true);
        check("read", "reads", false);
        check("read*", "read_file", true);
        check("*_file", "read_file", true);
        check("r*_*e", "read_file", true);
        check("*", "", true);
        check("a*a", "a", false);
        check("*x*", "abc", false);
    }

    #[test]
    fn names_that_are_none_of_a_server_are_found() {
        let settings = |own: &[&str]| Settings {
            tools: Patterns { own: own.iter().map(|name| (*name).to_owned()).collect(), ..Patterns::default() },
            rename: [("gone".to_owned(), "x".to_owned())].into(),
            ..Settings::default()
        };
        let tools = json!([{ "name": "echo", "inputSchema": { "type": "object" } }]);
        let catalogue = Catalogue { tools: Arc::new(from_value(tools).unwrap()), ..Catalogue::default() };
        let found = settings(&["a__echo", "a__*", "drop*", "ecko", "echo", "e*"]).idle_words("a__", &catalogue);
        let about = ["\"a__echo\": here", "\"a__*\": here", "\"ecko\", which", "\"gone\", which"];
        assert_eq!(found.len(), about.len(), "{found:?}");
        assert!(found.iter().zip(about).all(|(found, about)| found.contains(about)), "{found:?}");
        assert_eq!(settings(&["ecko"]).idle_words("a__", &Catalogue::default()), Vec::<String>::new());
    }

    #[test]
    fn what_a_server_is_started_with_starts_it_anew() {
        let now = Settings::default();
        let seen = Settings { prefix: Some("x".to_owned()), timeout: Duration::from_secs(1), ..now.clone() };
        assert!(now.runs_on_as(&seen) && now.runs_on_as(&Settings { mode: Some(Mode::Shared), ..now.clone() }));
        let renamed = |own: &str| Settings { rename: [(own.to_owned(), "x".to_owned())].into(), ..now.clone() };
        assert!(now.runs_on_as(&renamed("echo")));
        assert!(!now.runs_on_as(&renamed("no name")), "it was not kept");
        let roots = vec![Root { uri: "file:///x".to_owned(), name: None }];
        assert!(!now.runs_on_as(&Settings { roots, ..now.clone() }));
        assert!(!now.runs_on_as(&Settings { in_flight_max: 1, ..now.clone() }));
    }

    #[test]
    fn deny_is_stronger_than_allow() {
        let patterns = Patterns { allow: vec!["read*".into()], deny: vec!["*secret*".into()], ..Patterns::default() };
        assert!(patterns.permit("read_file"));
        assert!(!patterns.permit("read_secret"));
        assert!(!patterns.permit("write_file"));
        assert!(Patterns::default().permit("anything"));
    }
}
