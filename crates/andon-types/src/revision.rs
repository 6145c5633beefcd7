//! The five revisions of the protocol, and the one table of what differs between them.
//!
//! Nothing else in the workspace compares revisions: code asks [`Revision::rules`] for a field of the row
//! it needs, and asks [`Revision::era`] which of the two machines a peer speaks to.

use std::fmt;

/// A dated revision of the Model Context Protocol, oldest first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Revision {
    /// 2024-11-05: the first; HTTP with two endpoints.
    V2024_11_05,
    /// 2025-03-26: Streamable HTTP, batches, audio, tool annotations.
    V2025_03_26,
    /// 2025-06-18: structured output, elicitation, version header; batches gone.
    V2025_06_18,
    /// 2025-11-25: icons, URL elicitation, sampling with tools, tasks.
    V2025_11_25,
    /// 2026-07-28: no handshake and no protocol session; every request stands alone.
    V2026_07_28,
}

/// How a conversation is opened, which decides the machine that serves it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Era {
    /// Up to 2025-11-25: `initialize` opens a session.
    Legacy,
    /// From 2026-07-28: each request carries its version and capabilities in `_meta`.
    Modern,
}

macro_rules! rules {
    ($( $(#[doc = $doc:literal])+ $field:ident: [$a:literal, $b:literal, $c:literal, $d:literal, $e:literal], )+) => {
        /// What one revision of the protocol has. One row of the table per revision.
        #[derive(Debug, Clone, Copy, PartialEq, Eq)]
        pub struct Rules {
            /// Which machine serves it.
            pub era: Era,
            $( $(#[doc = $doc])+ pub $field: bool, )+
        }

        static TABLE: [Rules; 5] = [
            Rules { era: Era::Legacy, $($field: $a == 1,)+ },
            Rules { era: Era::Legacy, $($field: $b == 1,)+ },
            Rules { era: Era::Legacy, $($field: $c == 1,)+ },
            Rules { era: Era::Legacy, $($field: $d == 1,)+ },
            Rules { era: Era::Modern, $($field: $e == 1,)+ },
        ];

        impl Rules {
            /// The rows of the feature table: name, description, and the value for each revision, oldest first.
            pub fn features() -> Vec<(&'static str, String, [bool; 5])> {
                vec![ $( (
                    stringify!($field),
                    concat!($($doc),+).trim().to_owned(),
                    TABLE.map(|rules| rules.$field),
                ), )+ ]
            }
        }
    };
}

rules! {
    /// JSON-RPC batches are received (base protocol, "Batching").
    batch: [0, 1, 0, 0, 0],
    /// HTTP is one endpoint with POST, GET and DELETE rather than two with SSE.
    streamable_http: [0, 1, 1, 1, 1],
    /// Requests after the handshake carry `MCP-Protocol-Version` over HTTP.
    version_header: [0, 0, 1, 1, 1],
    /// Requests carry `Mcp-Method`, `Mcp-Name` and `Mcp-Param-*` over HTTP.
    routing_headers: [0, 0, 0, 0, 1],
    /// A stream opens with an event that has an id and no data, and may be closed early for polling.
    priming_event: [0, 0, 0, 1, 0],
    /// Streams carry event ids and can be resumed with `Last-Event-ID`.
    resumable: [0, 1, 1, 1, 0],
    /// A client that closes the HTTP response cancels its request.
    disconnect_cancels: [0, 0, 0, 0, 1],
    /// The server may send requests to the client; otherwise they travel as `input_required` results.
    server_requests: [1, 1, 1, 1, 0],
    /// Results carry `resultType`, and their `_meta` names the server.
    result_type: [0, 0, 0, 0, 1],
    /// Lists, reads and discovery carry `ttlMs` and `cacheScope`.
    cache_hints: [0, 0, 0, 0, 1],
    /// An unknown resource is -32602 with `data.uri`; before, it is -32002.
    not_found_is_invalid_params: [0, 0, 0, 0, 1],
    /// Bad tool arguments are a tool result with `isError`; before, a protocol error -32602.
    argument_errors_are_results: [0, 0, 0, 1, 1],
    /// Log notifications are sent per request, when its `_meta` asks for a level.
    log_level_per_request: [0, 0, 0, 0, 1],
    /// Audio content blocks.
    audio: [0, 1, 1, 1, 1],
    /// `annotations` of tools.
    tool_annotations: [0, 1, 1, 1, 1],
    /// `message` in progress notifications.
    progress_message: [0, 1, 1, 1, 1],
    /// The `completions` capability.
    completions_capability: [0, 1, 1, 1, 1],
    /// `context.arguments` in completion requests.
    completion_context: [0, 0, 1, 1, 1],
    /// Resource links in content.
    resource_link: [0, 0, 1, 1, 1],
    /// Human-readable `title` beside `name`.
    titles: [0, 0, 1, 1, 1],
    /// `outputSchema` of tools.
    output_schema: [0, 0, 1, 1, 1],
    /// `structuredContent` in tool results.
    structured_content: [0, 0, 1, 1, 1],
    /// `_meta` on items of lists and on content.
    item_meta: [0, 0, 1, 1, 1],
    /// `lastModified` in annotations.
    last_modified: [0, 0, 1, 1, 1],
    /// Elicitation by form.
    elicitation: [0, 0, 1, 1, 1],
    /// Elicitation by URL.
    elicitation_url: [0, 0, 0, 1, 1],
    /// `elicitationId` in URL elicitation and the notification of its completion.
    elicitation_id: [0, 0, 0, 1, 0],
    /// Tools and lists of content in sampling.
    sampling_tools: [0, 0, 0, 1, 1],
    /// `icons` of tools, prompts, resources and implementations.
    icons: [0, 0, 0, 1, 1],
    /// `websiteUrl` and `description` of implementations.
    implementation_details: [0, 0, 0, 1, 1],
    /// `execution.taskSupport` of tools, and tasks in the core protocol.
    execution: [0, 0, 0, 1, 0],
    /// Tasks are an extension, and the server decides what becomes one; before, the client asked for it by `task`.
    tasks_extension: [0, 0, 0, 0, 1],
    /// Structured content and output schemas of any JSON type rather than objects only.
    structured_any: [0, 0, 0, 0, 1],
    /// Schemas of tools use any keyword anywhere; before, each property has an object as its schema.
    any_schema: [0, 0, 0, 0, 1],
    /// Forms with titled choices, several choices, and defaults of every type.
    form_choices: [0, 0, 0, 1, 1],
    /// The `extensions` map in capabilities.
    extensions: [0, 0, 0, 0, 1],
    /// The id of an error is left out when the request's id could not be read.
    error_id_optional: [0, 0, 0, 1, 1],
}

impl Revision {
    /// Every revision, oldest first.
    pub const ALL: [Revision; 5] =
        [Self::V2024_11_05, Self::V2025_03_26, Self::V2025_06_18, Self::V2025_11_25, Self::V2026_07_28];

    /// The newest revision that `initialize` can negotiate; what an unknown proposal is answered with.
    pub const LATEST_LEGACY: Revision = Self::V2025_11_25;

    /// The newest revision.
    pub const LATEST: Revision = Self::V2026_07_28;

    /// What HTTP assumes of a request without version header and without session
    /// (2025-06-18, transports, "Protocol Version Header").
    pub const HEADERLESS: Revision = Self::V2025_03_26;

    /// The date that names the revision on the wire.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::V2024_11_05 => "2024-11-05",
            Self::V2025_03_26 => "2025-03-26",
            Self::V2025_06_18 => "2025-06-18",
            Self::V2025_11_25 => "2025-11-25",
            Self::V2026_07_28 => "2026-07-28",
        }
    }

    /// The revision with this date, if it is one of the five.
    pub fn parse(date: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|revision| revision.as_str() == date)
    }

    /// What `initialize` agrees on when a client proposes `date`: the same if it is a legacy revision,
    /// else [`Revision::LATEST_LEGACY`] (lifecycle, "Version Negotiation").
    pub fn negotiate(date: &str) -> Self {
        Self::parse(date).filter(|revision| revision.era() == Era::Legacy).unwrap_or(Self::LATEST_LEGACY)
    }

    /// Which machine serves this revision.
    pub fn era(self) -> Era {
        self.rules().era
    }

    /// This revision's row of the table.
    pub fn rules(self) -> &'static Rules {
        &TABLE[self as usize]
    }
}

impl fmt::Display for Revision {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

#[cfg(test)]
mod tests;
