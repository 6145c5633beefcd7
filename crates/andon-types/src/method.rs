//! The methods of the protocol: a closed list, each with the revisions that have it.

use crate::capability::ServerCapabilities;
use crate::revision::Revision;
use crate::task::declares_tasks;

/// A method that a client may call on a server.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Method {
    /// Opens a legacy session.
    Initialize,
    /// Is the peer there?
    Ping,
    /// Sets the threshold of log notifications of a legacy session.
    SetLevel,
    /// Announces versions and capabilities of a modern server.
    Discover,
    /// Opens a stream of change notifications (modern).
    Listen,
    /// Lists tools.
    ToolsList,
    /// Calls a tool.
    ToolsCall,
    /// Lists prompts.
    PromptsList,
    /// Gets a prompt.
    PromptsGet,
    /// Lists resources.
    ResourcesList,
    /// Reads a resource.
    ResourcesRead,
    /// Lists resource templates.
    TemplatesList,
    /// Subscribes a legacy session to changes of a resource.
    Subscribe,
    /// Ends such a subscription.
    Unsubscribe,
    /// Completes an argument of a prompt or a template.
    Complete,
    /// Says where a task stands.
    TasksGet,
    /// Waits for what a task comes to (2025-11-25).
    TasksResult,
    /// Lists the caller's tasks (2025-11-25).
    TasksList,
    /// Answers questions of a task (2026-07-28, tasks extension).
    TasksUpdate,
    /// Ends a task.
    TasksCancel,
}

/// What a server says it has; a method whose capability is absent is not found.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Capability {
    /// Always there.
    Base,
    /// `tools`.
    Tools,
    /// `prompts`.
    Prompts,
    /// `resources`.
    Resources,
    /// `subscribe` in `resources`.
    Subscriptions,
    /// `logging`.
    Logging,
    /// `completions`.
    Completions,
    /// `tasks`, and from 2026-07-28 on the extension of that name.
    Tasks,
}

impl Capability {
    /// Whether a server that declares `capabilities` has it.
    pub fn is_in(self, capabilities: &ServerCapabilities) -> bool {
        match self {
            Self::Base => true,
            Self::Tools => capabilities.tools.is_some(),
            Self::Prompts => capabilities.prompts.is_some(),
            Self::Resources => capabilities.resources.is_some(),
            Self::Subscriptions => capabilities.resources.is_some_and(|resources| resources.subscribe),
            Self::Logging => capabilities.logging.is_some(),
            Self::Completions => capabilities.completions.is_some(),
            Self::Tasks => capabilities.tasks.is_some() || declares_tasks(capabilities.extensions.as_ref()),
        }
    }
}

struct Row {
    method: Method,
    name: &'static str,
    first: Revision,
    last: Revision,
    capability: Capability,
    /// The member of `params` that `Mcp-Name` mirrors.
    named_by: Option<&'static str>,
    /// The handler may ask for input: elicitation, sampling, roots.
    may_ask: bool,
}

const FIRST: Revision = Revision::V2024_11_05;
const LEGACY: Revision = Revision::LATEST_LEGACY;
const TASKS: Revision = Revision::V2025_11_25;
const MODERN: Revision = Revision::V2026_07_28;

const fn row(method: Method, name: &'static str, first: Revision, last: Revision, capability: Capability) -> Row {
    Row { method, name, first, last, capability, named_by: None, may_ask: false }
}

const fn asking(row: Row, member: &'static str) -> Row {
    let mut row = named_by(row, member);
    row.may_ask = true;
    row
}

const fn named_by(mut row: Row, member: &'static str) -> Row {
    row.named_by = Some(member);
    row
}

static METHODS: [Row; 20] = [
    row(Method::Initialize, "initialize", FIRST, LEGACY, Capability::Base),
    row(Method::Ping, "ping", FIRST, LEGACY, Capability::Base),
    row(Method::SetLevel, "logging/setLevel", FIRST, LEGACY, Capability::Logging),
    row(Method::Discover, "server/discover", MODERN, MODERN, Capability::Base),
    row(Method::Listen, "subscriptions/listen", MODERN, MODERN, Capability::Base),
    row(Method::ToolsList, "tools/list", FIRST, MODERN, Capability::Tools),
    asking(row(Method::ToolsCall, "tools/call", FIRST, MODERN, Capability::Tools), "name"),
    row(Method::PromptsList, "prompts/list", FIRST, MODERN, Capability::Prompts),
    asking(row(Method::PromptsGet, "prompts/get", FIRST, MODERN, Capability::Prompts), "name"),
    row(Method::ResourcesList, "resources/list", FIRST, MODERN, Capability::Resources),
    asking(row(Method::ResourcesRead, "resources/read", FIRST, MODERN, Capability::Resources), "uri"),
    row(Method::TemplatesList, "resources/templates/list", FIRST, MODERN, Capability::Resources),
    row(Method::Subscribe, "resources/subscribe", FIRST, LEGACY, Capability::Subscriptions),
    row(Method::Unsubscribe, "resources/unsubscribe", FIRST, LEGACY, Capability::Subscriptions),
    row(Method::Complete, "completion/complete", FIRST, MODERN, Capability::Completions),
    named_by(row(Method::TasksGet, "tasks/get", TASKS, MODERN, Capability::Tasks), "taskId"),
    row(Method::TasksResult, "tasks/result", TASKS, LEGACY, Capability::Tasks),
    row(Method::TasksList, "tasks/list", TASKS, LEGACY, Capability::Tasks),
    named_by(row(Method::TasksUpdate, "tasks/update", MODERN, MODERN, Capability::Tasks), "taskId"),
    named_by(row(Method::TasksCancel, "tasks/cancel", TASKS, MODERN, Capability::Tasks), "taskId"),
];

impl Method {
    /// Every method, in the order of the specification's chapters.
    pub fn all() -> impl Iterator<Item = Method> {
        METHODS.iter().map(|row| row.method)
    }

    /// The method with this name, if `revision` has it.
    pub fn find(name: &str, revision: Revision) -> Option<Method> {
        Self::named(name).filter(|method| method.is_in(revision))
    }

    /// The method that any revision has by this name.
    pub fn named(name: &str) -> Option<Method> {
        METHODS.iter().find(|row| row.name == name).map(|row| row.method)
    }

    /// `name`, if any revision has a method of that name.
    pub fn spelling(name: &str) -> Option<&'static str> {
        Self::named(name).map(Self::as_str)
    }

    /// The name on the wire.
    pub fn as_str(self) -> &'static str {
        self.row().name
    }

    /// Whether `revision` has this method.
    pub fn is_in(self, revision: Revision) -> bool {
        let row = self.row();
        row.first <= revision && revision <= row.last
    }

    /// What the server must have for this method to exist.
    pub fn capability(self) -> Capability {
        self.row().capability
    }

    /// The member of `params` that the header `Mcp-Name` mirrors (2026-07-28, Streamable HTTP).
    pub fn named_by(self) -> Option<&'static str> {
        self.row().named_by
    }

    /// Whether its handler may ask the client for input (2026-07-28, multi round-trip requests).
    pub fn may_ask(self) -> bool {
        self.row().may_ask
    }

    /// Whether sent twice it does no more than sent once, in the sense of "idempotent" in RFC 9110, 9.2.2: it only asks, or
    /// brings about what is so already. What a tool does depends on the tool, so that a call of one is not.
    pub fn is_repeatable(self) -> bool {
        self != Self::ToolsCall
    }

    fn row(self) -> &'static Row {
        &METHODS[self as usize]
    }
}

#[cfg(test)]
mod tests {
    use super::{METHODS, Method};
    use crate::revision::Revision;

    #[test]
    fn rows_stand_in_the_order_of_the_enum() {
        for (index, row) in METHODS.iter().enumerate() {
            assert_eq!(row.method as usize, index, "{}", row.name);
        }
    }

    #[test]
    fn methods_are_found_only_in_their_revisions() {
        let modern = Revision::LATEST;
        for gone in ["initialize", "ping", "logging/setLevel", "resources/subscribe", "resources/unsubscribe"] {
            assert_eq!(Method::find(gone, modern), None, "{gone}");
            assert!(Revision::ALL[..4].iter().all(|revision| Method::find(gone, *revision).is_some()));
        }
        assert_eq!(Method::find("server/discover", Revision::LATEST_LEGACY), None);
        assert_eq!(Method::find("__proto__", modern), None);
        assert_eq!(Method::find("Tools/List", modern), None);
    }
}
