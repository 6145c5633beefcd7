//! The lists that clients of an endpoint see, of as many servers as are there.

use std::sync::Arc;

use andon_server::call::Call;
use andon_server::service::{Reply, Text};
use andon_types::adapt::Adapt;
use andon_types::error::ErrorObject;
use andon_types::meta::CacheHint;
use andon_types::method::Method;
use andon_types::raw_object::RawObject;
use serde_json::{Map, Value};

use super::{Front, Scope, VIEWS_MAX};
use crate::catalogue::{Catalogue, Listed};
use crate::config::Mode;
use crate::flight::lock;
use crate::instance::without_words;
use crate::names;
use crate::upstream::{Purpose, Upstream};
use crate::view::{Listing, Part, View};

/// In `_meta` of a list: the servers that it is without.
const MISSING: &str = "andon.dev/missing";

impl Front {
    pub(super) async fn list(
        self: &Arc<Self>,
        call: &Call,
        method: Method,
        params: &RawObject,
    ) -> Result<Reply, ErrorObject> {
        let after = match (params.get("cursor"), params.text("cursor")) {
            (None, _) => 0,
            (_, Some(cursor)) => self.cursors.open(method, call.principal(), &cursor)?,
            _ => return Err(ErrorObject::invalid_params("\"cursor\" is a text")),
        };
        let view = self.view(call, "").await;
        let page = match method {
            Method::ToolsList => self.page(call, method, &view.tools, after),
            Method::PromptsList => self.page(call, method, &view.prompts, after),
            Method::ResourcesList => self.page(call, method, &view.resources, after),
            _ => self.page(call, method, &view.templates, after),
        };
        Ok(Reply { meta: self.notice(&view), ..page })
    }

    /// Which servers a list is without, and why.
    fn notice(&self, view: &View) -> Option<Map<String, Value>> {
        let missing = |upstream: &Arc<Upstream>| {
            let status = (!view.has(&upstream.name)).then(|| upstream.status())?;
            let mut told =
                Map::from_iter([("server".to_owned(), status.name.into()), ("state".to_owned(), status.state.into())]);
            if let Some(why) = status.last_error {
                told.insert("why".to_owned(), without_words(&why).into());
            }
            Some(Value::Object(told))
        };
        let missing: Vec<Value> = self.upstreams().iter().filter_map(missing).collect();
        (!missing.is_empty()).then(|| Map::from_iter([(MISSING.to_owned(), missing.into())]))
    }

    fn page<T: Listed + Adapt>(&self, call: &Call, method: Method, listing: &Listing<T>, after: u64) -> Reply {
        let (page, next) = listing.page(call.revision(), usize::try_from(after).unwrap_or(usize::MAX));
        let body = match next {
            None => Text::Shared(page),
            Some(next) => {
                let cursor = self.cursors.seal(method, call.principal(), next as u64);
                Text::Owned(format!("{},\"nextCursor\":\"{cursor}\"}}", &page[..page.len() - 1]))
            }
        };
        Reply { body, cache: Some(CacheHint::default()), ..Reply::default() }
    }

    /// What this client sees. Waits a little for servers that are just starting, and then goes on without them: they
    /// announce themselves. For the one whose prefix `name` has it waits until it has started.
    pub(super) async fn view(&self, call: &Call, name: &str) -> Arc<View> {
        let upstreams = self.upstreams();
        let parts = futures_util::future::join_all(upstreams.iter().map(|upstream| async {
            let prefix = self.prefix(upstream, upstreams.len());
            let is_meant = !prefix.is_empty() && name.starts_with(&prefix);
            let catalogue = self.catalogue(upstream, call, is_meant).await?;
            Some(self.part(upstream, catalogue, upstreams.len()))
        }));
        let parts: Vec<Part> = parts.await.into_iter().flatten().collect();
        self.view_of(parts)
    }

    /// What clients see who have no conversation of their own.
    pub(crate) fn known_view(&self) -> Arc<View> {
        let Some(hub) = self.hub.upgrade() else { return self.view_of(Vec::new()) };
        let all = hub.upstreams();
        let shown = || all.iter().filter(|upstream| self.shows(upstream));
        let count = shown().count();
        let parts = || shown().filter_map(|upstream| Some(self.part(upstream, upstream.known()?, count)));
        if let Some(view) = lock(&self.views).iter().find(|view| view.is_of(parts())) {
            return view.clone();
        }
        self.view_of(parts().collect())
    }

    fn part(&self, upstream: &Upstream, catalogue: Arc<Catalogue>, servers: usize) -> Part {
        let prefix = self.prefix(upstream, servers);
        let (server, settings) = (upstream.name.clone(), upstream.settings.clone());
        let is_one_of_several = self.scope == Scope::All && servers > 1;
        Part { server, prefix, settings, catalogue, held: upstream.held(), is_one_of_several }
    }

    fn prefix(&self, upstream: &Upstream, servers: usize) -> String {
        match (&self.scope, &upstream.settings.prefix) {
            (Scope::One(_), _) => String::new(),
            (Scope::All, Some(given)) => given.clone(),
            (Scope::All, None) if servers == 1 => String::new(),
            (Scope::All, None) => names::prefix(&upstream.name),
        }
    }

    fn view_of(&self, parts: Vec<Part>) -> Arc<View> {
        let mut views = lock(&self.views);
        if let Some(view) = views.iter().find(|view| view.is_of(parts.iter())) {
            return view.clone();
        }
        let view = Arc::new(View::new(parts));
        if views.len() >= VIEWS_MAX {
            views.remove(0);
        }
        views.push(view.clone());
        view
    }

    async fn catalogue(&self, upstream: &Arc<Upstream>, call: &Call, is_meant: bool) -> Option<Arc<Catalogue>> {
        let settings = &upstream.settings;
        let wait = if is_meant { settings.start_timeout } else { settings.list_wait };
        if upstream.mode != Mode::Shared {
            return match upstream.instance_for(call, self.number, Purpose::List) {
                Ok(instance) => instance.listed(wait).await.or_else(|| upstream.known()),
                // There is no room for one more conversation now: its calls will be told.
                Err(_) => upstream.known(),
            };
        }
        // What it listed before is good until it says otherwise.
        match upstream.known() {
            Some(known) => Some(known),
            None => {
                let instance = upstream.instance_for(call, self.number, Purpose::List).ok()?;
                instance.listed(wait).await.or_else(|| upstream.known())
            }
        }
    }
}
