//! The attribute macros `#[tool]`, `#[resource]` and `#[prompt]`.
//!
//! They are sugar: each turns an `async fn` into a function of the same name that makes an entry, which is what
//! `Server::with` takes. It writes the entry and the handler that one could write by hand with `ToolEntry`, `ResourceEntry`, `TemplateEntry` and
//! `PromptEntry`. They decide nothing about the protocol. The code they emit names everything by `::andon`.
//!
//! The function itself stays reachable as `name::call(..)`, so that it can be tested without a server.

use proc_macro::TokenStream;
use syn::parse_macro_input;

mod function;
mod options;
mod prompt;
mod resource;
mod tool;

/// Makes a tool of an `async fn`.
///
/// The function's doc comment is the tool's description, and a parameter's doc comment is that property's.
/// Parameters are JSON arguments, unless their type is an extractor (`State<T>`, `Context`, `Principal`, `Meta`) or
/// they are marked `#[extract]`; one parameter `Args<T>` takes all arguments at once. `Option<T>` may be left out, and
/// so may a parameter with `#[default(expression)]`.
///
/// It returns text, a number, a boolean, `Content`, `CallToolResult`, or a type of one's own that derives `Serialize`
/// and `JsonSchema`, which becomes structured content with an output schema; or a `Result` of these.
///
/// Options: `name = ".."`, `title = ".."`, `description = ".."`, `read_only`, `idempotent`, `destructive`,
/// `open_world` (each also `= false`), `timeout = "30s"`, `max_in_flight = 64`, `icon = "https://.."`,
/// `task` (it runs as a task for clients that take tasks; `task = "required"`: only so; `task = "late"`: from 2026-07-28
/// on when the function says so by `Context::become_task`),
/// `scope = "catalog:read"` (who does not hold it is not told of the tool; several stand with spaces between them),
/// `header(parameter = "Name")`, which mirrors an argument as `Mcp-Param-Name` (2026-07-28).
#[proc_macro_attribute]
pub fn tool(options: TokenStream, item: TokenStream) -> TokenStream {
    let function = parse_macro_input!(item as syn::ItemFn);
    tool::expand(options.into(), function).unwrap_or_else(syn::Error::into_compile_error).into()
}

/// Makes a resource, or a resource template, of an `async fn`.
///
/// The first option is the URI, or a URI template whose variables are parameters of the function. They are parsed
/// from text by `FromStr`; a text that cannot be parsed is "not found". The rest of the parameters are extractors, or a
/// `ReadRequest`.
///
/// It returns text, `Vec<u8>`, `Json<T>`, `ResourceContents`, or a `Result` of these.
///
/// Options: `mime = ".."`, `name = ".."`, `title = ".."`, `description = ".."`, `icon = "https://.."`,
/// `complete(variable = function)`, `scope = "catalog:read"` as in a tool.
#[proc_macro_attribute]
pub fn resource(options: TokenStream, item: TokenStream) -> TokenStream {
    let function = parse_macro_input!(item as syn::ItemFn);
    resource::expand(options.into(), function).unwrap_or_else(syn::Error::into_compile_error).into()
}

/// Makes a prompt of an `async fn`.
///
/// Parameters are arguments, parsed from text by `FromStr`; `Option<T>` may be left out. Extractors work as in a tool.
///
/// It returns text, which the user says, `PromptMessage`, `Vec<PromptMessage>`, `GetPromptResult`, or a `Result`.
///
/// Options: `name = ".."`, `title = ".."`, `description = ".."`, `icon = "https://.."`,
/// `complete(argument = function)`, `scope = "catalog:read"` as in a tool.
#[proc_macro_attribute]
pub fn prompt(options: TokenStream, item: TokenStream) -> TokenStream {
    let function = parse_macro_input!(item as syn::ItemFn);
    prompt::expand(options.into(), function).unwrap_or_else(syn::Error::into_compile_error).into()
}
