//! Logs go to standard error: standard output belongs to messages.

use std::io::IsTerminal as _;

use andon::server::observe::REQUEST_TARGET;
use tracing_subscriber::EnvFilter;
use tracing_subscriber::filter::LevelFilter;

/// Starts logging what `filter` lets through.
pub(crate) fn start(filter: &str, for_people: bool) -> Result<(), String> {
    let filter = EnvFilter::try_new(filter).map_err(|error| format!("--log {filter:?}: {error}"))?;
    // Whatever is logged says which request it is about: always if its sender has named it, and with logs of level debug
    // by a name of ours.
    let is_detailed = filter.max_level_hint().is_none_or(|level| level >= LevelFilter::DEBUG);
    let named = format!("{REQUEST_TARGET}={}", if is_detailed { "debug" } else { "info" });
    let named = named.parse().map_err(|error| format!("cannot log: {error}"))?;
    let filter = filter.add_directive(named);
    let coloured = std::io::stderr().is_terminal();
    let builder = tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr).with_ansi(coloured);
    let started =
        if for_people { builder.with_target(false).try_init() } else { builder.json().flatten_event(true).try_init() };
    started.map_err(|error| format!("cannot log: {error}"))
}
