//! `tools/call`.

use std::borrow::Cow;
use std::future::ready;
use std::sync::Arc;

use andon_schema::headers::check_headers;
use andon_types::adapt::Adapt as _;
use andon_types::content::Content;
use andon_types::error::{ErrorObject, clip};
use andon_types::object::string;
use andon_types::params::{Member, Params};
use andon_types::revision::Rules;
use andon_types::tools::CallToolResult;
use tracing::error;

use super::tasks::Way;
use super::{RESULT_BYTES_MAX, Router, encode, permit};
use crate::arguments::Arguments;
use crate::call::Call;
use crate::failure::{Shown, ToolError};
use crate::item::ToolItem;
use crate::service::Reply;
use crate::tasks::Ran;

/// The parameters of a call as they stand there; what is `null` is absent.
struct CallParams<'a> {
    name: Cow<'a, str>,
    arguments: &'a str,
    /// The client wants a task (2025-11-25).
    task: Option<&'a str>,
}

impl<'a> CallParams<'a> {
    fn read(params: Option<&'a Params>) -> Result<Self, ErrorObject> {
        let member = |member| params.and_then(|params| params.member(member));
        let name = member(Member::Name).and_then(string);
        let name = name.ok_or_else(|| ErrorObject::invalid_params("bad parameters: \"name\" is a string"))?;
        Ok(Self { name, arguments: member(Member::Arguments).unwrap_or("{}"), task: member(Member::Task) })
    }
}

impl Router {
    pub(super) async fn call_tool(&self, call: Call, params: Option<&Params>) -> Result<Reply, ErrorObject> {
        let CallParams { name, arguments, task } = CallParams::read(params)?;
        let item = self.tool(&name)?;
        permit(&call, &item.entry.scopes)?;
        let way = self.way(&item, &call, task)?;
        let rules = call.rules();
        let arguments = match read_arguments(&item, params, arguments) {
            Ok(arguments) => arguments,
            Err(Refused::NoObject) => return Err(ErrorObject::invalid_params("\"arguments\" is an object")),
            Err(Refused::Invalid(why)) => {
                let outcome = answer(&item, rules, Err(ToolError::arguments(why)));
                return match way {
                    // Who asked for a task is answered with one, even if it fails at once.
                    Way::Task(ttl) if outcome.is_ok() && !rules.tasks_extension => {
                        Box::pin(self.tasks.run(&call, ttl, move |_| ready(outcome))).await
                    }
                    _ => outcome.map(|(reply, _)| reply),
                };
            }
        };
        let slot = item.slots.as_ref().map(|slots| Arc::clone(slots).try_acquire_owned());
        if let Some(Err(_)) = slot {
            let why = format!("as many calls of `{name}` as it takes are running; try again later");
            return Err(ErrorObject::unavailable(why));
        }
        let slot = slot.and_then(Result::ok);
        // Boxed, so that calls which are no tasks do not carry what those need.
        if let Way::Task(ttl) = way {
            let context = self.context(call.clone());
            let work = move |_| async move {
                let _slot = slot;
                answer(&item, rules, item.entry.handler.call(arguments, context).await)
            };
            return Box::pin(self.tasks.run(&call, ttl, work)).await;
        }
        if let Some(timeout) = item.entry.timeout.or(self.settings.tool_timeout) {
            call.set_timeout(timeout);
        }
        if way == Way::Late {
            let context = self.context(call.clone());
            let running = async move {
                let _slot = slot;
                answer(&item, rules, item.entry.handler.call(arguments, context).await)
            };
            return Box::pin(self.tasks.run_late(&call, running)).await;
        }
        let outcome = item.entry.handler.call(arguments, self.context(call)).await;
        answer(&item, rules, outcome).map(|(reply, _)| reply)
    }

    /// What a tool that does not exist would do need not be written down either.
    pub(super) fn is_repeatable_call(&self, params: Option<&Params>) -> bool {
        let Ok(CallParams { name, .. }) = CallParams::read(params) else { return true };
        let Ok(item) = self.tool(&name) else { return true };
        let annotations = item.entry.tool.annotations.as_ref();
        annotations.is_some_and(|hints| hints.read_only_hint == Some(true) || hints.idempotent_hint == Some(true))
    }

    fn tool(&self, name: &str) -> Result<Arc<ToolItem>, ErrorObject> {
        let found = self.shared.catalogue.look().tools.find(name).cloned();
        found.ok_or_else(|| ErrorObject::invalid_params(format!("unknown tool: {}", clip(name))))
    }

    /// A tool that does not exist, or parameters that are none, have no headers that could disagree: the call itself
    /// is answered with what is wrong.
    pub(super) fn check_headers(
        &self,
        tool: &str,
        params: Option<&Params>,
        headers: &[(&str, &str)],
    ) -> Result<(), String> {
        let snapshot = self.shared.catalogue.look();
        let Some(expected) = snapshot.tools.find(tool).and_then(|item| item.headers.as_ref()) else { return Ok(()) };
        let Ok(CallParams { arguments, .. }) = CallParams::read(params) else { return Ok(()) };
        check_headers(expected, arguments, headers)
    }
}

enum Refused {
    NoObject,
    Invalid(String),
}

fn read_arguments(item: &ToolItem, params: Option<&Params>, text: &str) -> Result<Arguments, Refused> {
    if !text.starts_with('{') {
        return Err(Refused::NoObject);
    }
    item.input.check_text(text).map_err(|error| Refused::Invalid(format!("bad arguments: {error}")))?;
    Ok(params.and_then(|params| Arguments::within(params, text)).unwrap_or_default())
}

/// The reply, and whether it is a tool's failure.
fn answer(item: &ToolItem, rules: &Rules, outcome: Result<CallToolResult, ToolError>) -> Ran {
    let result = match outcome {
        Ok(result) => check_output(item, result),
        Err(failure) => match failure.shown() {
            Shown::Result(result) => result,
            Shown::Arguments(why) if rules.argument_errors_are_results => CallToolResult::error(why),
            Shown::Arguments(why) => return Err(ErrorObject::invalid_params(why)),
            Shown::Error(error) => return Err(error),
        },
    };
    reply(item, rules, result)
}

/// What goes out as structured content is what the output schema says (server, tools, "Output Schema").
fn check_output(item: &ToolItem, mut result: CallToolResult) -> CallToolResult {
    if let (Some(validator), false) = (&item.output, result.is_error) {
        let checked = match &result.structured_content {
            Some(content) => {
                content.to_value().map_err(|error| error.to_string()).and_then(|tree| validator.check(&tree))
            }
            None => Err("there is no structured content".to_owned()),
        };
        if let Err(why) = checked {
            error!(tool = item.entry.tool.name, why, "a tool's result does not match its output schema");
            return CallToolResult::error("the tool's result does not match its output schema");
        }
    }
    if let (true, Some(content)) = (result.content.is_empty(), &result.structured_content) {
        result.content.push(Content::text(content.as_str()));
    }
    result
}

fn reply(item: &ToolItem, rules: &Rules, mut result: CallToolResult) -> Ran {
    result.adapt(rules);
    let meta = result.meta.take();
    let mut is_error = result.is_error;
    let body = encode(&result).or_else(|_| {
        is_error = true;
        error!(tool = item.entry.tool.name, "a tool's result is larger than {RESULT_BYTES_MAX} bytes, or no JSON");
        encode(&CallToolResult::error("the tool's result is too large to be sent"))
    });
    let body = body.map_err(|_| ErrorObject::internal())?;
    Ok((Reply { body, meta, ..Reply::default() }, is_error))
}
