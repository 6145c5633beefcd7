//! One HTTP request: its credentials, where it goes, and how often it is sent again.

use andon_core::client::Loss;
use http::header::LOCATION;
use http::{HeaderMap, Method, StatusCode};
use reqwest::Response;
use url::Url;

use super::{HttpOptions, disconnected, refused};

/// Answers to challenges, and redirects, of one request.
const RETRIES_MAX: usize = 3;

/// Sends a request with credentials, again when a challenge was answered or the same origin redirects.
pub(crate) async fn send(
    options: &HttpOptions,
    method: Method,
    mut url: Url,
    headers: HeaderMap,
    body: Option<&str>,
) -> Result<Response, Loss> {
    let mut retries = 0;
    loop {
        let credentials = match &options.authorizer {
            Some(authorizer) => {
                let made = authorizer.headers(&method, url.as_str()).await;
                made.map_err(|error| Loss::Unauthorized(error.to_string()))?
            }
            None => HeaderMap::new(),
        };
        let request = options.client.request(method.clone(), url.clone()).headers(headers.clone());
        let mut request = request.headers(credentials.clone());
        if let Some(body) = body {
            request = request.body(body.to_owned());
        }
        options.figures.add_request();
        let response = request.send().await.map_err(|error| disconnected(&error))?;
        options.figures.add_answer(&response);
        if let Some(authorizer) = &options.authorizer {
            authorizer.answered(response.headers());
        }
        retries += 1;
        match response.status() {
            StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN => {
                if retries > RETRIES_MAX {
                    let why = "the server refuses the credentials again and again".to_owned();
                    return Err(Loss::Unauthorized(why));
                }
                if !answers_challenge(options, &response, &credentials).await? {
                    return unanswered(options, response);
                }
                options.figures.add_challenge();
            }
            StatusCode::TEMPORARY_REDIRECT | StatusCode::PERMANENT_REDIRECT if retries <= RETRIES_MAX => {
                url = redirected(options, &response, &url)?;
            }
            status if status.is_redirection() => {
                return Err(refused(Some(status), "it redirects, and a message is not sent elsewhere"));
            }
            _ => return Ok(response),
        }
    }
}

/// Whether there are new credentials after this refusal.
async fn answers_challenge(options: &HttpOptions, response: &Response, used: &HeaderMap) -> Result<bool, Loss> {
    let Some(authorizer) = &options.authorizer else { return Ok(false) };
    let answered = authorizer.challenged(response.status(), response.headers(), used).await;
    answered.map_err(|error| Loss::Unauthorized(error.to_string()))
}

/// A 401 is about credentials whatever its body says; a 403 may be about something else.
fn unanswered(options: &HttpOptions, response: Response) -> Result<Response, Loss> {
    if response.status() == StatusCode::FORBIDDEN {
        return Ok(response);
    }
    Err(Loss::Unauthorized(match options.authorizer {
        Some(_) => "the server does not accept the credentials".to_owned(),
        None => "the server wants credentials: log in, or give an Authorization header".to_owned(),
    }))
}

/// Where to send the request instead: to the same origin alone, since it carries credentials and a message.
fn redirected(options: &HttpOptions, response: &Response, from: &Url) -> Result<Url, Loss> {
    let location = response.headers().get(LOCATION).and_then(|location| location.to_str().ok());
    let target = location.and_then(|location| from.join(location).ok());
    match target {
        Some(target) if target.origin() == options.url.origin() => Ok(target),
        Some(target) => {
            let host = target.host_str().unwrap_or("another place");
            let why = format!("it redirects to {host}: connect to that address if you trust it");
            Err(refused(Some(response.status()), why))
        }
        None => Err(refused(Some(response.status()), "it redirects without saying where")),
    }
}
