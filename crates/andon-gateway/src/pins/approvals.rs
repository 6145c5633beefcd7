//! What `andon approve` was told to trust, until Andon heeds it. The files of definitions are written by Andon only, and
//! those of approvals by `andon approve` only, so that neither undoes what the other does.

use std::collections::BTreeMap;
use std::io::{Error, ErrorKind, Result};
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use super::definition::Definition;
use super::{FOLDER, files, kept};
use crate::diff::Extent;

/// In the folder of data: a file for each tool.
const APPROVED: &str = "approved";

/// A tool that is held back.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HeldBack {
    /// Its server.
    pub server: String,
    /// Its name.
    pub tool: String,
    /// What changed in its definition.
    pub diff: String,
    /// Whether that was approved, and Andon has not heeded it yet.
    pub is_approved: bool,
}

#[derive(Serialize, Deserialize)]
pub(super) struct Approval {
    server: String,
    pub(super) tool: String,
    pub(super) definition: Definition,
}

/// Trusts what the servers say now of the tools that are held back: all of them, those of `server`, or its `tool`. Gives
/// them as they were. A running gateway heeds it when it is reloaded, and the next one when it starts.
///
/// # Errors
/// When the files in the folder `data` cannot be read or written.
pub fn approve(data: &Path, server: Option<&str>, tool: Option<&str>) -> Result<Vec<HeldBack>> {
    let held = held(data, server, tool)?;
    for (HeldBack { server, tool, is_approved, .. }, definition) in &held {
        if !is_approved {
            let (server, tool, definition) = (server.clone(), tool.clone(), definition.clone());
            kept::store(&path_of(data, &server, &tool), &Approval { server, tool, definition })?;
        }
    }
    Ok(held.into_iter().map(|(held, _)| held).collect())
}

/// The tools that are held back in the folder `data`: all of them, those of `server`, or its `tool`.
///
/// # Errors
/// When the files cannot be read.
pub fn held_back(data: &Path, server: Option<&str>, tool: Option<&str>) -> Result<Vec<HeldBack>> {
    Ok(held(data, server, tool)?.into_iter().map(|(held, _)| held).collect())
}

fn held(data: &Path, server: Option<&str>, tool: Option<&str>) -> Result<Vec<(HeldBack, Definition)>> {
    if !data.join(FOLDER).is_dir() {
        return Err(Error::new(ErrorKind::NotFound, "there are none"));
    }
    let mut held = Vec::new();
    for file in files(data)?.into_iter().filter(|file| server.is_none_or(|server| server == file.server)) {
        for (own, pin) in file.tools.into_iter().filter(|(own, _)| tool.is_none_or(|tool| tool == own)) {
            let Some(definition) = pin.held else { continue };
            let approval = kept::load::<Approval>(&path_of(data, &file.server, &own));
            let is_approved = approval.is_ok_and(|waiting| waiting.definition == definition);
            let diff = pin.trusted.diff(&definition, Extent::Whole);
            held.push((HeldBack { server: file.server.clone(), tool: own, diff, is_approved }, definition));
        }
    }
    Ok(held)
}

fn path_of(data: &Path, server: &str, tool: &str) -> PathBuf {
    data.join(APPROVED).join(kept::digest(&[server, tool])).with_extension("json")
}

/// What has not been heeded yet, by server; what cannot be read is not.
pub(super) fn waiting(data: &Path) -> BTreeMap<String, Vec<(PathBuf, Approval)>> {
    let files = kept::listed(&data.join(APPROVED)).unwrap_or_else(|error| {
        tracing::error!(%error, "approvals cannot be read: nothing is trusted that was not");
        Vec::new()
    });
    let mut waiting: BTreeMap<_, Vec<_>> = BTreeMap::new();
    for file in files {
        match kept::load::<Approval>(&file) {
            Ok(approval) => waiting.entry(approval.server.clone()).or_default().push((file, approval)),
            Err(error) => tracing::error!(%error, "an approval cannot be read, and is not heeded"),
        }
    }
    waiting
}

/// They have been heeded.
pub(super) fn remove(files: &[PathBuf]) {
    for file in files {
        if let Err(error) = std::fs::remove_file(file) {
            tracing::error!(file = %file.display(), %error, "an approval was heeded, and cannot be removed");
        }
    }
}
