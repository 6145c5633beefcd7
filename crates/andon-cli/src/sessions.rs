//! `andon sessions list | show | end`: what operators see of a running server, and may do to it.

mod show;
pub(crate) mod wire;

use std::path::PathBuf;
use std::process::ExitCode;

use andon::serde_json::{self, Value};
use andon::server::host::operators::{SessionName, SessionPage, SessionQuery, SessionView};
use clap::{Args, Subcommand};

use crate::client::show::{print, print_json};
use crate::client::{Failure, fail};
use wire::{Place, encoded};

/// Look at the sessions of a running server, and end them.
#[derive(Args)]
pub(crate) struct Sessions {
    #[command(subcommand)]
    deed: Deed,
    /// The directory of `andon serve --data DIR`.
    #[arg(long, global = true, value_name = "DIR")]
    data: Option<PathBuf>,
    /// The loopback address of `andon serve --admin HOST:PORT`. The token is in DIR, or in ANDON_ADMIN_TOKEN.
    #[arg(long, global = true, value_name = "HOST:PORT")]
    admin: Option<String>,
    /// Print JSON, for programs.
    #[arg(long, global = true)]
    json: bool,
}

#[derive(Subcommand)]
enum Deed {
    /// List sessions, in memory or only in the store.
    List(List),
    /// Show one session, with what runs in it.
    Show {
        /// Its name, as the list has it.
        #[arg(value_name = "NAME")]
        name: String,
    },
    /// End sessions: what runs in them is cancelled, and their clients have to open new ones.
    End {
        /// Their names, as the list has them.
        #[arg(value_name = "NAME", required = true)]
        names: Vec<String>,
    },
}

#[derive(Args)]
struct List {
    /// Only those of this principal; an empty one stands for clients without authentication.
    #[arg(long, value_name = "SUBJECT")]
    principal: Option<String>,
    /// Only those in this phase: not_initialized, initializing, initialized.
    #[arg(long, value_name = "PHASE")]
    phase: Option<String>,
    /// Only those in this state: negotiation, active, suspended.
    #[arg(long, value_name = "STATE")]
    state: Option<String>,
    /// At most this many.
    #[arg(long, default_value_t = 1_000, value_name = "COUNT", value_parser = clap::value_parser!(u32).range(1..))]
    max: u32,
}

impl Sessions {
    /// Does what is asked.
    pub(crate) fn run(self) -> ExitCode {
        match self.perform() {
            Ok(()) => ExitCode::SUCCESS,
            Err(failure) => fail(&failure),
        }
    }

    fn perform(&self) -> Result<(), Failure> {
        let place = Place::find(self.data.as_deref(), self.admin.as_deref())?;
        match &self.deed {
            Deed::List(list) => self.list(&place, list),
            Deed::Show { name } => {
                let shown = place.ask("GET", &format!("/v1/sessions/{}", checked(name)?))?;
                if self.json { print_json(&shown.to_string()) } else { show::session(&read(shown)?) }
            }
            Deed::End { names } => {
                let names = names.iter().map(|name| checked(name)).collect::<Result<Vec<_>, _>>()?;
                // One that is gone already does not save the others.
                let ended: Vec<_> = names.into_iter().map(|name| self.end(&place, name)).collect();
                ended.into_iter().collect()
            }
        }
    }

    fn end(&self, place: &Place, name: SessionName) -> Result<(), Failure> {
        let ended = place.ask("DELETE", &format!("/v1/sessions/{name}"))?;
        if self.json { print_json(&ended.to_string()) } else { print(&format!("ended {name}")) }
    }

    fn list(&self, place: &Place, list: &List) -> Result<(), Failure> {
        let wanted = usize::try_from(list.max).unwrap_or(usize::MAX);
        let (mut sessions, mut after, mut is_store_down) = (Vec::<SessionView>::new(), None, false);
        loop {
            let max = (wanted - sessions.len()).min(SessionQuery::MAX);
            let page: SessionPage = read(place.ask("GET", &list.target(max, after))?)?;
            sessions.extend(page.sessions);
            (after, is_store_down) = (page.next, is_store_down || page.is_store_down);
            if after.is_none() || sessions.len() >= wanted {
                break;
            }
        }
        if is_store_down {
            eprintln!("andon: the store does not answer: these are only the sessions in memory");
        }
        if self.json {
            return print_json(&serde_json::json!(sessions).to_string());
        }
        show::sessions(&sessions)?;
        if after.is_some() {
            eprintln!("and more: see --max");
        }
        Ok(())
    }
}

impl List {
    fn target(&self, max: usize, after: Option<SessionName>) -> String {
        let mut target = format!("/v1/sessions?max={max}");
        let after = after.map(|name| name.to_string());
        for (name, value) in
            [("principal", &self.principal), ("phase", &self.phase), ("state", &self.state), ("after", &after)]
        {
            if let Some(value) = value {
                target.push_str(&format!("&{name}={}", encoded(value)));
            }
        }
        target
    }
}

fn checked(name: &str) -> Result<SessionName, Failure> {
    name.parse().map_err(|error| Failure::Usage(format!("{name:?}: {error}; see andon sessions list")))
}

fn read<T: serde::de::DeserializeOwned>(value: Value) -> Result<T, Failure> {
    serde_json::from_value(value).map_err(|error| Failure::Io(format!("the server is of another release: {error}")))
}
