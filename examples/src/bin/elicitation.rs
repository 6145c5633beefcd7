//! Questions to the person at the client. The handler is the same for every revision of the protocol: up to 2025-11-25
//! the question is a request to the client; from 2026-07-28 on the call ends with the question, and the client calls
//! again with the answer. So a handler asks first and acts afterwards.
//!
//! `cargo run --bin elicitation`, over standard input and output and at <http://127.0.0.1:8080/mcp>.

use andon::prelude::*;

/// What the form asks for. Doc comments are what the person reads.
#[derive(Deserialize, JsonSchema)]
struct Booking {
    /// How many people come
    seats: u8,
    /// Where to sit
    #[serde(default)]
    place: Place,
}

#[derive(Deserialize, JsonSchema, Default, Debug, Clone, Copy)]
#[serde(rename_all = "lowercase")]
enum Place {
    #[default]
    Inside,
    Terrace,
}

/// Book a table at a restaurant.
#[tool(open_world, timeout = "5m")]
async fn book(
    /// name of the restaurant
    restaurant: String,
    ctx: Context,
) -> Result<String, ToolError> {
    let booking: Booking = match ctx.elicit(&format!("A table at {restaurant}:")).await {
        Ok(booking) => booking,
        Err(ElicitError::Declined) => return Ok("Nothing was booked.".to_owned()),
        // Closed, timed out, or the client has no forms: the model is told which.
        Err(error) => return Err(error.into()),
    };
    Ok(format!("Booked {} seats ({:?}) at {restaurant}.", booking.seats, booking.place))
}

fn server() -> Server {
    Server::new("tables", env!("CARGO_PKG_VERSION")).with(book)
}

#[tokio::main]
async fn main() -> andon::Result {
    server().serve((Stdio, Http::bind("127.0.0.1:8080")?)).await
}

#[cfg(test)]
mod tests {
    use super::server;
    use andon::prelude::{Value, json};
    use andon::server::testing::ClientOptions;
    use andon::types::revision::Revision;

    async fn told(revision: Revision, answer: Value) -> String {
        let options = ClientOptions::default()
            .revision(revision)
            .capabilities(json!({"elicitation": {}}))
            .answering(move |_, _| Ok(answer.clone()));
        let called = server().client_with(options).await.call("book", json!({"restaurant": "Rosa"})).await;
        called.unwrap_or_else(|error| error.to_string())
    }

    #[tokio::test]
    async fn books_in_both_eras() {
        for revision in [Revision::LATEST_LEGACY, Revision::LATEST] {
            let accepted = json!({"action": "accept", "content": {"seats": 4, "place": "terrace"}});
            assert_eq!(told(revision, accepted).await, "Booked 4 seats (Terrace) at Rosa.");
            assert_eq!(told(revision, json!({"action": "decline"})).await, "Nothing was booked.");
            assert!(told(revision, json!({"action": "cancel"})).await.contains("closed the question"));
        }
    }
}
