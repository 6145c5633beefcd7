//! `docs/revisions.md`, made from the table in andon-types.

use std::fmt::Write as _;
use std::path::PathBuf;

use andon_types::method::Method;
use andon_types::revision::{Revision, Rules};

use crate::Outcome;
use crate::tools::root;

pub(crate) fn write() -> Outcome {
    std::fs::write(path(), table()).map_err(|error| format!("docs/revisions.md: {error}"))
}

pub(crate) fn check() -> Outcome {
    let known = std::fs::read_to_string(path()).unwrap_or_default();
    if known == table() {
        Ok(())
    } else {
        Err("docs/revisions.md is not what the table says: cargo xtask revisions".into())
    }
}

fn path() -> PathBuf {
    root().join("docs").join("revisions.md")
}

fn table() -> String {
    let mut text = "# What differs between revisions\n\nMade from `Rules` and `Method` in andon-types by `cargo xtask \
                    revisions`; not written by hand.\n"
        .to_owned();
    let dates = Revision::ALL.map(Revision::as_str).join(" | ");
    let mark = |there: bool| if there { "yes" } else { "-" };
    let mut body = String::new();
    for (_, what, cells) in Rules::features() {
        writeln!(body, "| {what} | {} |", cells.map(mark).join(" | ")).expect("writing to a string does not fail");
    }
    let mut methods = String::new();
    for method in Method::all() {
        let cells = Revision::ALL.map(|revision| mark(method.is_in(revision)));
        writeln!(methods, "| `{}` | {} |", method.as_str(), cells.join(" | "))
            .expect("writing to a string does not fail");
    }
    let rule = "|---|---|---|---|---|---|";
    write!(text, "\n## Features\n\n| feature | {dates} |\n{rule}\n{body}\n## Methods that a client calls\n\n| method | {dates} |\n{rule}\n{methods}")
        .expect("writing to a string does not fail");
    text
}
