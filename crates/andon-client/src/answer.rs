//! How a program answers what a server asks: one way for both eras.

use std::future::Future;
use std::sync::Arc;

use andon_core::client::Round;
use andon_schema::Validator;
use andon_types::capability::{ClientCapabilities, Settings};
use andon_types::client::{ElicitAction, ElicitResult, InputRequest, ListRootsResult, Root};
use andon_types::error::ErrorObject;
use futures_util::FutureExt as _;
use futures_util::future::BoxFuture;
use serde_json::{Map, Value, json};

/// A form that the server wants filled.
#[derive(Debug, Clone)]
pub struct Form {
    /// What it is about, for the person.
    pub message: String,
    /// A JSON Schema of flat properties.
    pub schema: Value,
}

/// A page that the server wants visited. It must not be opened without the person's consent, who has to see where it
/// leads (client features, "Elicitation").
#[derive(Debug, Clone)]
pub struct Visit {
    /// What it is about, for the person.
    pub message: String,
    /// The page.
    pub url: String,
    /// Names the elicitation in later notifications (2025-11-25).
    pub id: Option<String>,
}

/// What the person says to a form.
#[derive(Debug, Clone)]
pub enum Filled {
    /// Agrees, with this content. Properties that have defaults and are not in it get them.
    Accept(Map<String, Value>),
    /// Says no.
    Decline,
    /// Closes it.
    Cancel,
}

/// What the person says to a visit.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Consent {
    /// Agrees, and the page was opened.
    Accept,
    /// Says no.
    Decline,
    /// Closes the question.
    Cancel,
}

/// A question of the server as it came, for programs that pass it on.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct Question {
    /// What it asks.
    pub request: InputRequest,
    /// The tag ([`Options::tag`](crate::Options::tag)) of the call that it belongs to, where the server says so: always
    /// from 2026-07-28 on, and before over HTTP when it came on that call's stream.
    pub tag: Option<u64>,
    /// Its name within its call (2026-07-28).
    pub key: Option<String>,
    /// What its call was answered with it, unless that became a task (2026-07-28).
    pub round: Option<Round>,
}

type Handler<In, Out> = Arc<dyn Fn(In) -> BoxFuture<'static, Out> + Send + Sync>;
type Sampled = Result<Value, ErrorObject>;

/// Who answers what. What nobody answers is not declared.
#[derive(Clone, Default)]
pub(crate) struct Answers {
    pub(crate) form: Option<Handler<Form, Filled>>,
    pub(crate) visit: Option<Handler<Visit, Consent>>,
    pub(crate) sample: Option<Handler<Map<String, Value>, Sampled>>,
    pub(crate) samples_with_tools: bool,
    pub(crate) roots: Option<Arc<std::sync::Mutex<Vec<Root>>>>,
    /// Answers everything, with what is declared; then the others are not asked.
    pub(crate) any: Option<(Handler<Question, Sampled>, ClientCapabilities)>,
    /// Further members of the capabilities, as the program says.
    pub(crate) declared: Map<String, Value>,
}

pub(crate) fn handler<In, Out, F>(answer: impl Fn(In) -> F + Send + Sync + 'static) -> Handler<In, Out>
where
    F: Future<Output = Out> + Send + 'static,
{
    Arc::new(move |input| answer(input).boxed())
}

impl Answers {
    /// What there are answers for.
    pub(crate) fn capabilities(&self) -> ClientCapabilities {
        if let Some((_, capabilities)) = &self.any {
            return capabilities.clone();
        }
        let empty = || Value::Object(Map::new());
        let mut modes = Settings::new();
        // An empty object would mean form as well; naming it is clear at all revisions.
        if self.form.is_some() {
            modes.insert("form".into(), empty());
        }
        if self.visit.is_some() {
            modes.insert("url".into(), empty());
        }
        let mut sampling = Settings::new();
        if self.samples_with_tools {
            sampling.insert("tools".into(), empty());
        }
        let mut other = self.declared.clone();
        let extensions = match other.remove("extensions") {
            Some(Value::Object(extensions)) => Some(extensions),
            _ => None,
        };
        ClientCapabilities {
            roots: self.roots.is_some().then(|| Settings::from_iter([("listChanged".to_owned(), Value::Bool(true))])),
            sampling: self.sample.is_some().then_some(sampling),
            elicitation: (!modes.is_empty()).then_some(modes),
            extensions,
            other,
        }
    }

    /// The answer to a question, as the result that travels.
    pub(crate) fn answer(&self, question: Question) -> BoxFuture<'static, Result<Value, ErrorObject>> {
        if let Some((any, _)) = &self.any {
            return any(question);
        }
        let request = question.request;
        let missing = |what: &str| {
            let error = ErrorObject::invalid_request(format!("this client does not answer {what}"));
            async { Err(error) }.boxed()
        };
        let is_url = request.is_url();
        match request {
            InputRequest::Elicitation(params) if is_url => match &self.visit {
                Some(visit) => consent(visit.clone(), &params).boxed(),
                None => missing("elicitation by URL"),
            },
            InputRequest::Elicitation(params) => match &self.form {
                Some(form) => fill(form.clone(), params).boxed(),
                None => missing("elicitation by form"),
            },
            InputRequest::Sampling(params) => match &self.sample {
                Some(sample) => sample(params),
                None => missing("sampling"),
            },
            InputRequest::Roots(_) => match &self.roots {
                Some(roots) => {
                    let roots = roots.lock().unwrap_or_else(std::sync::PoisonError::into_inner).clone();
                    async move { Ok(json!(ListRootsResult { roots })) }.boxed()
                }
                None => missing("roots"),
            },
        }
    }
}

fn consent(
    visit: Handler<Visit, Consent>,
    params: &Map<String, Value>,
) -> impl Future<Output = Result<Value, ErrorObject>> + Send + use<> {
    let text = |name: &str| params.get(name).and_then(Value::as_str).map(str::to_owned);
    let (message, url, id) = (text("message"), text("url"), text("elicitationId"));
    async move {
        // Anything else could be handed to a program that does what the URL says.
        let is_web = |url: &String| url.starts_with("https://") || url.starts_with("http://");
        let Some(url) = url.filter(is_web) else {
            return Err(ErrorObject::invalid_params("\"url\" is an http or https URL"));
        };
        let action = match visit(Visit { message: message.unwrap_or_default(), url, id }).await {
            Consent::Accept => ElicitAction::Accept,
            Consent::Decline => ElicitAction::Decline,
            Consent::Cancel => ElicitAction::Cancel,
        };
        Ok(json!(ElicitResult { action, content: None }))
    }
}

async fn fill(form: Handler<Form, Filled>, mut params: Map<String, Value>) -> Result<Value, ErrorObject> {
    let message = params.get("message").and_then(Value::as_str).unwrap_or_default().to_owned();
    let schema = params.remove("requestedSchema").unwrap_or_else(|| json!({ "type": "object" }));
    let validator = Validator::compile(&schema)
        .map_err(|error| ErrorObject::invalid_params(format!("bad \"requestedSchema\": {error}")))?;
    let result = match form(Form { message, schema: schema.clone() }).await {
        Filled::Decline => ElicitResult { action: ElicitAction::Decline, content: None },
        Filled::Cancel => ElicitResult { action: ElicitAction::Cancel, content: None },
        Filled::Accept(mut content) => {
            fill_defaults(&schema, &mut content);
            let content = Value::Object(content);
            // The server never sees what its own schema refuses.
            validator.check(&content).map_err(|why| {
                ErrorObject::invalid_request(format!("what was filled in does not match the form: {why}"))
            })?;
            let Value::Object(content) = content else { unreachable!("made from an object above") };
            ElicitResult { action: ElicitAction::Accept, content: Some(content) }
        }
    };
    Ok(json!(result))
}

/// Puts the defaults of `schema` where `content` has nothing (2025-11-25, "Elicitation").
pub fn fill_defaults(schema: &Value, content: &mut Map<String, Value>) {
    let properties = schema.get("properties").and_then(Value::as_object);
    for (name, property) in properties.into_iter().flatten() {
        if let Some(default) = property.get("default")
            && !content.contains_key(name)
        {
            content.insert(name.clone(), default.clone());
        }
    }
}

#[cfg(test)]
mod tests;
