//! What the client does in each scenario.

use andon::auth::net::Reach;
use andon::auth::{
    Algorithm, AuthError, ClientCredentials, ClientMetadata, Flow, Headless, OAuth, ScopeRule, SigningKey,
};
use andon::client::{Client, Consent, Error, Filled, Options};
use andon::types::client::Root;
use andon::types::revision::{Era, Revision};
use andon::types::tools::Tool;
use serde_json::{Map, Value, json};

/// Plays `scenario` against `url`.
pub(crate) async fn play(scenario: &str, url: &str, revision: Revision, context: Value) -> Result<(), Error> {
    let client = connect(scenario, url, revision, &context).await?;
    match scenario {
        // What these offer cannot be called.
        "initialize" | "json-schema-ref-no-deref" => drop(client.tools().await?),
        "sep-2322-client-request-state" => {
            for tool in client.tools().await? {
                call(&client, &tool.name, Map::new()).await?;
            }
        }
        "http-standard-headers" => everything(&client).await?,
        "http-custom-headers" => {
            client.tools().await?;
            for wanted in context["toolCalls"].as_array().into_iter().flatten() {
                let arguments = wanted["arguments"].as_object().cloned().unwrap_or_default();
                call(&client, wanted["name"].as_str().unwrap_or_default(), arguments).await?;
            }
        }
        "http-invalid-tool-headers" => {
            for tool in client.tools().await? {
                call(&client, &tool.name, sample(&tool)).await?;
            }
        }
        "json-schema-2020-12-preservation" => {
            let tools = client.tools().await?;
            let schema = tools.iter().find(|tool| tool.name == "json_schema_2020_12_tool");
            let schema = schema.and_then(|tool| tool.input_schema.to_value().ok()).unwrap_or_default();
            call(&client, "json_schema_echo", object(json!({ "schema": schema }))).await?;
        }
        _ => {
            if let Some(tool) = client.tools().await?.first() {
                call(&client, &tool.name, sample(tool)).await?;
            }
        }
    }
    client.close().await;
    Ok(())
}

async fn connect(scenario: &str, url: &str, revision: Revision, context: &Value) -> Result<Client, Error> {
    let oauth =
        credentials(scenario, url, revision, context).map_err(|error| Error::Unauthorized(error.to_string()))?;
    let mut builder = Client::builder(url)
        .authorizer(oauth)
        .info("andon-conformance", env!("CARGO_PKG_VERSION"))
        .on_form(|form| async move {
            // A person who fills in nothing but what has no default.
            let confirm = form.schema["properties"].get("confirmed").is_some_and(|it| it.get("default").is_none());
            let content = if confirm { json!({ "confirmed": true }) } else { json!({}) };
            Filled::Accept(object(content))
        })
        .on_visit(|_| async { Consent::Decline })
        .on_sample(|_| async {
            let content = json!({ "type": "text", "text": "a sample" });
            Ok(json!({ "role": "assistant", "content": content, "model": "none", "stopReason": "endTurn" }))
        })
        .roots([Root { uri: "file:///tmp".to_owned(), name: None }]);
    // The era is the scenario's; within the legacy one, the client negotiates as always.
    if revision.era() == Era::Modern {
        builder = builder.protocol(revision);
    } else {
        builder = builder.protocol(Revision::LATEST_LEGACY);
    }
    builder.connect().await
}

/// How the scenario wants a token to be got.
fn credentials(scenario: &str, url: &str, revision: Revision, context: &Value) -> Result<OAuth, AuthError> {
    const REDIRECT: &str = "http://localhost:3000/callback";
    const DOCUMENT: &str = "https://conformance-test.local/client-metadata.json";
    let text = |name: &str| context[name].as_str().map(str::to_owned);
    let need = |name: &str| text(name).unwrap_or_default();
    let mut builder = OAuth::builder(url).client(ClientMetadata {
        name: "andon-conformance".to_owned(),
        document_url: Some(DOCUMENT.to_owned()),
        uri: None,
    });
    if revision.era() == Era::Legacy {
        builder = builder.scope_rule(ScopeRule::Replace);
    }
    if let Some(client_id) = text("client_id") {
        builder = builder.registered(text("issuer"), ClientCredentials::new(client_id, text("client_secret")));
    }
    let here = Reach { loopback: true, private: false };
    builder = match scenario {
        "auth/client-credentials-basic" => builder.flow(Flow::ClientCredentials),
        "auth/client-credentials-jwt" => {
            let algorithm = Algorithm::named(&need("signing_algorithm")).unwrap_or(Algorithm::Es256);
            builder.flow(Flow::ClientCredentialsJwt(SigningKey::from_pem(&need("private_key_pem"), algorithm)?))
        }
        "auth/enterprise-managed-authorization" => builder.flow(Flow::EnterpriseManaged {
            idp_client_id: need("idp_client_id"),
            id_token: need("idp_id_token"),
            idp_token_endpoint: need("idp_token_endpoint"),
        }),
        "auth/wif-jwt-bearer" => builder.flow(Flow::WorkloadIdentity(need("valid_jwt"))),
        _ => builder.interactive(Headless::new(REDIRECT, here)),
    };
    builder.build()
}

async fn call(client: &Client, name: &str, arguments: Map<String, Value>) -> Result<(), Error> {
    let result = client.call_tool(name, arguments, Options::default()).await?;
    if result.is_error {
        eprintln!("{name} failed: {:?}", result.content);
    }
    Ok(())
}

/// Each kind of request that is routed by headers.
async fn everything(client: &Client) -> Result<(), Error> {
    for tool in client.tools().await? {
        call(client, &tool.name, sample(&tool)).await?;
    }
    for resource in client.resources().await? {
        client.read(&resource.uri).await?;
    }
    for prompt in client.prompts().await? {
        let arguments: Map<String, Value> =
            prompt.arguments.iter().map(|argument| (argument.name.clone(), "x".into())).collect();
        client.prompt(&prompt.name, arguments).await?;
    }
    Ok(())
}

/// Arguments that satisfy what a tool demands.
fn sample(tool: &Tool) -> Map<String, Value> {
    let schema = tool.input_schema.to_value().unwrap_or_default();
    let properties = schema["properties"].as_object().cloned().unwrap_or_default();
    let value = |property: &Value| match property["type"].as_str() {
        Some("number" | "integer") => json!(5),
        Some("boolean") => json!(true),
        Some("array") => json!([]),
        Some("object") => json!({}),
        _ => json!("x"),
    };
    properties.iter().map(|(name, property)| (name.clone(), value(property))).collect()
}

fn object(value: Value) -> Map<String, Value> {
    match value {
        Value::Object(map) => map,
        _ => unreachable!("only called with object literals"),
    }
}
