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

use super::{Front, Scope};
use crate::catalogue::Listed;
use crate::config::{Mode, Settings};
use crate::flight::lock;
use crate::instance::without_words;
use crate::pins::Vetted;
use crate::upstream::{Purpose, Upstream};
use crate::view::{Listing, Part, View};
use crate::viewer::Viewer;

/// In `_meta` of a list: the servers that it is without.
pub const MISSING: &str = "andon.dev/missing";

impl Front {
    pub(super) async fn list(
        self: &Arc<Self>,
        call: &Call,
        method: Method,
        params: &RawObject,
    ) -> Result<Reply, ErrorObject> {
        let after = match (params.get("cursor"), params.text("cursor")) {
            (None, _) => 0,
            (_, Some(cursor)) => self.means()?.cursors.open(method, call.principal(), &cursor)?,
            _ => return Err(ErrorObject::invalid_params("\"cursor\" is a text")),
        };
        let view = self.view(call).await;
        let page = match method {
            Method::ToolsList => self.page(call, method, &view.tools, after)?,
            Method::PromptsList => self.page(call, method, &view.prompts, after)?,
            Method::ResourcesList => self.page(call, method, &view.resources, after)?,
            _ => self.page(call, method, &view.templates, after)?,
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

    fn page<T: Listed + Adapt>(
        &self,
        call: &Call,
        method: Method,
        listing: &Listing<T>,
        after: u64,
    ) -> Result<Reply, ErrorObject> {
        let (page, next) = listing.page(call.revision(), usize::try_from(after).unwrap_or(usize::MAX));
        let body = match next {
            None => Text::Shared(page),
            Some(next) => {
                let cursor = self.means()?.cursors.seal(method, call.principal(), next as u64);
                Text::Owned(format!("{},\"nextCursor\":\"{cursor}\"}}", &page[..page.len() - 1]))
            }
        };
        Ok(Reply { body, cache: Some(CacheHint::default()), ..Reply::default() })
    }

    /// What this client sees. Waits a little for servers that are just starting, and then goes on without them: they
    /// announce themselves.
    pub(super) async fn view(&self, call: &Call) -> Arc<View> {
        let (upstreams, named) = (self.upstreams(), self.named());
        let parts = futures_util::future::join_all(upstreams.iter().map(|upstream| async {
            let catalogue = self.catalogue(upstream, call).await?;
            Some(self.part(upstream, catalogue, named))
        }));
        let parts: Vec<Part> = parts.await.into_iter().flatten().collect();
        self.view_of(self.viewer(call).as_ref(), parts)
    }

    /// The same as far as it takes to find `name`: waits until the server has started whose prefix it has, and is content
    /// with what is known of others.
    ///
    /// # Errors
    /// When that server cannot be asked.
    pub(super) async fn view_for(&self, call: &Call, name: &str) -> Result<Arc<View>, ErrorObject> {
        let (upstreams, named, viewer) = (self.upstreams(), self.named(), self.viewer(call));
        let parts = futures_util::future::try_join_all(upstreams.iter().map(|upstream| async {
            let prefix = self.prefix(&upstream.name, &upstream.settings(), named);
            let catalogue = match upstream.known_to(viewer.as_ref()) {
                Some(known) => Some(known),
                None if !name.starts_with(&prefix) => None,
                None if prefix.is_empty() && upstreams.len() > 1 => self.catalogue(upstream, call).await,
                None => Some(upstream.ready(call, self.number).await?.1.catalogue),
            };
            Ok::<_, ErrorObject>(catalogue.map(|catalogue| self.part(upstream, catalogue, named)))
        }));
        let parts: Vec<Part> = parts.await?.into_iter().flatten().collect();
        Ok(self.view_of(viewer.as_ref(), parts))
    }

    /// What this client sees, with all servers that it may reach a resource of by `uri`.
    pub(super) async fn view_of_resource(&self, call: &Call, uri: &str) -> Arc<View> {
        let known = self.known_view(self.viewer(call).as_ref());
        let is_whole = || self.upstreams().iter().all(|upstream| known.has(&upstream.name));
        if known.resources.find(uri).is_some() || (is_whole() && known.home(uri).is_some()) {
            return known;
        }
        self.view(call).await
    }

    /// Who calls, if that makes a difference to what it sees.
    pub(super) fn viewer(&self, call: &Call) -> Option<Viewer> {
        self.has_private().then(|| Viewer::calling(self.number, call))
    }

    /// Whether there are servers of which not all see the same.
    pub(super) fn has_private(&self) -> bool {
        self.hub.upgrade().is_some_and(|hub| {
            let all = hub.upstreams();
            all.iter().any(|upstream| self.shows(&upstream.name) && !upstream.is_for_all())
        })
    }

    /// What is known without asking a server; to nobody in particular, that of which all see the same.
    pub(crate) fn known_view(&self, viewer: Option<&Viewer>) -> Arc<View> {
        let Some(hub) = self.hub.upgrade() else { return self.view_of(None, Vec::new()) };
        let all = hub.upstreams();
        let shown = || all.iter().filter(|upstream| self.shows(&upstream.name));
        let named = hub.named();
        let parts = || shown().filter_map(|upstream| Some(self.part(upstream, upstream.known_to(viewer)?, named)));
        if let Some(view) = lock(&self.views).of(viewer).filter(|view| view.is_of(parts())) {
            return view;
        }
        self.view_of(viewer, parts().collect())
    }

    /// How many servers the configuration names, with those that are left out.
    fn named(&self) -> usize {
        self.hub.upgrade().map_or(0, |hub| hub.named())
    }

    fn part(&self, upstream: &Upstream, catalogue: Arc<Vetted>, named: usize) -> Part {
        let (server, settings) = (upstream.name.clone(), upstream.settings());
        let prefix = self.prefix(&server, &settings, named);
        let is_one_of_several = self.scope == Scope::All && named > 1;
        Part { server, prefix, settings, held: catalogue.held(), catalogue, is_one_of_several }
    }

    fn prefix(&self, server: &str, settings: &Settings, named: usize) -> String {
        match (&self.scope, &settings.prefix) {
            (Scope::One(_), _) => String::new(),
            (Scope::All, None) if named == 1 => String::new(),
            (Scope::All, _) => settings.prefix_of(server),
        }
    }

    fn view_of(&self, viewer: Option<&Viewer>, parts: Vec<Part>) -> Arc<View> {
        lock(&self.views).put(viewer, parts)
    }

    async fn catalogue(&self, upstream: &Arc<Upstream>, call: &Call) -> Option<Arc<Vetted>> {
        // What it listed before is good until it says otherwise. One of one's own has to be there to say so.
        let viewer = Viewer::calling(self.number, call);
        let known = || upstream.known_to(Some(&viewer));
        if upstream.mode == Mode::Shared
            && let Some(known) = known()
        {
            return Some(known);
        }
        match upstream.reserve(call, self.number, Purpose::List) {
            Ok(reserved) => reserved.instance.listed(upstream.settings().list_wait).await.or_else(known),
            // There is no room for one more conversation now: its calls will be told.
            Err(_) => known(),
        }
    }
}
