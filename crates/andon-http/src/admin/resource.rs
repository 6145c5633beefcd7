//! What the endpoint for operators shows, and what they ask of it.

use std::fmt;

use futures_util::future::BoxFuture;
use http::Method;
use serde_json::Value;

/// Something that operators look at, under a path of its own. What it answers must hold no secrets.
///
/// ```
/// use andon_http::{Ask, Refusal, Resource};
/// use serde_json::{Value, json};
///
/// struct Seats(u32);
///
/// impl Resource for Seats {
///     fn answer(&self, ask: Ask) -> futures_util::future::BoxFuture<'_, Result<Value, Refusal>> {
///         Box::pin(async move {
///             match (ask.method().as_str(), ask.item()) {
///                 ("GET", None) => Ok(json!({ "seats": self.0 })),
///                 ("GET", Some(item)) => Err(Refusal::NotFound(format!("there is no seat {item}"))),
///                 _ => Err(Refusal::NotAllowed("GET")),
///             }
///         })
///     }
/// }
/// ```
pub trait Resource: Send + Sync + 'static {
    /// Answers one request. It is dropped when whoever asked is gone.
    fn answer(&self, ask: Ask) -> BoxFuture<'_, Result<Value, Refusal>>;
}

/// What an operator asks of a resource.
#[derive(Debug, Clone)]
pub struct Ask {
    method: Method,
    item: Option<String>,
    query: Vec<(String, String)>,
}

impl Ask {
    pub(super) fn new(method: Method, item: Option<&str>, query: &str) -> Self {
        let query = url::form_urlencoded::parse(query.as_bytes()).into_owned().collect();
        Self { method, item: item.map(str::to_owned), query }
    }

    /// `GET`, `DELETE`, or another one to be refused.
    pub fn method(&self) -> &Method {
        &self.method
    }

    /// The segment of the path after the resource, as it was sent.
    pub fn item(&self) -> Option<&str> {
        self.item.as_deref()
    }

    /// The value of a parameter.
    pub fn parameter(&self, name: &str) -> Option<&str> {
        self.query.iter().find(|(known, _)| known == name).map(|(_, value)| value.as_str())
    }

    /// Refuses parameters that are not among `known`, and those that stand twice: a filter that is overlooked shows, or
    /// ends, what was not meant.
    ///
    /// # Errors
    /// [`Refusal::BadRequest`].
    pub fn check_parameters(&self, known: &[&str]) -> Result<(), Refusal> {
        for (index, (name, _)) in self.query.iter().enumerate() {
            if !known.contains(&name.as_str()) {
                return Err(Refusal::BadRequest(format!("there are the parameters: {}", known.join(", "))));
            }
            if self.query[..index].iter().any(|(other, _)| other == name) {
                return Err(Refusal::BadRequest(format!("the parameter {name} stands more than once")));
            }
        }
        Ok(())
    }
}

/// Why an operator gets no answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Refusal {
    /// 400: the request is wrong, in these words.
    BadRequest(String),
    /// 401: without the token.
    Unauthorized,
    /// 404: there is no such thing.
    NotFound(String),
    /// 405: not by this method; those that there are.
    NotAllowed(&'static str),
    /// 503: not now.
    Unavailable(String),
    /// Any other status.
    Status(u16, String),
}

impl Refusal {
    pub(super) fn status(&self) -> u16 {
        match self {
            Self::BadRequest(_) => 400,
            Self::Unauthorized => 401,
            Self::NotFound(_) => 404,
            Self::NotAllowed(_) => 405,
            Self::Unavailable(_) => 503,
            Self::Status(status, _) => *status,
        }
    }
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::BadRequest(why) | Self::NotFound(why) | Self::Unavailable(why) | Self::Status(_, why) => {
                f.write_str(why)
            }
            Self::Unauthorized => f.write_str("this needs the operators' token: Authorization: Bearer TOKEN"),
            Self::NotAllowed(methods) => write!(f, "here only {methods} can be used"),
        }
    }
}

impl std::error::Error for Refusal {}

#[cfg(test)]
mod tests {
    use http::Method;

    use super::Ask;

    #[test]
    fn parameters_are_decoded_known_and_stand_once() {
        let ask = |query| Ask::new(Method::GET, None, query);
        assert_eq!(ask("principal=a%40b+c&max=1").parameter("principal"), Some("a@b c"));
        assert_eq!(ask("principal=").parameter("principal"), Some(""));
        assert!(ask("max=1&after=2").check_parameters(&["max", "after"]).is_ok());
        for bad in ["maximum=1", "max=1&max=2", "max=1&"] {
            assert_eq!(ask(bad).check_parameters(&["max"]).is_ok(), bad == "max=1&", "{bad}");
        }
    }
}
