//! Members of an object, each of which is known or warned about.

use std::path::{Path, PathBuf};

use super::{Finding, Severity};
use crate::jsonc::{Kind, Member, Node, Position};

/// What was found so far.
pub(crate) struct Report {
    file: PathBuf,
    pub(crate) findings: Vec<Finding>,
    /// How many of the errors are about one server only.
    pub(crate) of_servers: usize,
}

impl Report {
    pub(crate) fn new(file: &Path) -> Self {
        Self { file: file.to_owned(), findings: Vec::new(), of_servers: 0 }
    }

    /// What `look` finds is about another file.
    pub(crate) fn within<T>(&mut self, file: &Path, look: impl FnOnce(&mut Self) -> Option<T>) -> Option<T> {
        let outer = std::mem::replace(&mut self.file, file.to_owned());
        let found = look(self);
        self.file = outer;
        found
    }

    pub(crate) fn parsed(&mut self, parsed: Result<Node, (Position, String)>) -> Option<Node> {
        parsed.map_err(|(at, why)| self.error(at, why)).ok()
    }

    /// How many errors there are so far.
    pub(crate) fn errors(&self) -> usize {
        self.findings.iter().filter(|finding| finding.severity == Severity::Error).count()
    }

    pub(crate) fn warn(&mut self, at: Position, message: impl Into<String>) {
        self.find(Severity::Warning, at, message.into());
    }

    pub(crate) fn error(&mut self, at: Position, message: impl Into<String>) {
        self.find(Severity::Error, at, message.into());
    }

    fn find(&mut self, severity: Severity, at: Position, message: String) {
        self.findings.push(Finding { file: self.file.clone(), at, severity, message });
    }
}

/// The members of an object that were not looked at yet.
pub(crate) struct Fields<'a>(Vec<&'a Member>);

impl<'a> Fields<'a> {
    pub(crate) fn of(node: &'a Node, what: &str, report: &mut Report) -> Option<Self> {
        match &node.kind {
            Kind::Object(members) => Some(Self(members.iter().collect())),
            other => {
                report.error(node.at, format!("{what} is an object, and this is {}", other.noun()));
                None
            }
        }
    }

    /// The value of the member with this name.
    pub(crate) fn take(&mut self, name: &str) -> Option<&'a Node> {
        let index = self.0.iter().position(|member| member.name == name)?;
        Some(&self.0.remove(index).value)
    }

    /// Whatever is left means nothing.
    pub(crate) fn finish(self, what: &str, report: &mut Report) {
        self.leave(Severity::Warning, what, report);
    }

    /// The same, where it may be a mistake that does harm.
    pub(crate) fn finish_strictly(self, what: &str, report: &mut Report) {
        self.leave(Severity::Error, what, report);
    }

    fn leave(self, severity: Severity, what: &str, report: &mut Report) {
        for member in self.0 {
            report.find(severity, member.at, format!("{what} has {:?}, which means nothing here", member.name));
        }
    }
}

pub(crate) fn object<'a>(node: &'a Node, what: &str, report: &mut Report) -> Option<&'a [Member]> {
    match &node.kind {
        Kind::Object(members) => Some(members),
        other => {
            report.error(node.at, format!("\"{what}\" is an object, and this is {}", other.noun()));
            None
        }
    }
}

pub(crate) fn text<'a>(node: &'a Node, what: &str, report: &mut Report) -> Option<&'a str> {
    match &node.kind {
        Kind::Text(text) => Some(text),
        other => {
            report.error(node.at, format!("\"{what}\" is a text, and this is {}", other.noun()));
            None
        }
    }
}

pub(crate) fn flag(node: &Node, what: &str, report: &mut Report) -> Option<bool> {
    match node.kind {
        Kind::Bool(flag) => Some(flag),
        ref other => {
            report.error(node.at, format!("\"{what}\" is true or false, and this is {}", other.noun()));
            None
        }
    }
}
