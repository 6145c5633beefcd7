//! Other people's servers through `andon serve` compared with the same servers directly, call by call.
//!
//! `interop-gateway PROTOCOL URL PREFIX [own] -- COMMAND`: everything that the server COMMAND, or the one at that URL, has
//! is asked for directly and at URL, where its names begin with PREFIX (`-` is none), by a client of PROTOCOL. `own` says that the client has the server to itself
//! there, so that what belongs to no call comes too.

mod calls;

use std::sync::{Arc, Mutex};
use std::time::Duration;

use andon::client::{Builder, Called, Client, Command, Consent, Event, Filled, Listen, Options, Reference, Target};
use andon::types::client::Root;
use andon::types::meta::Level;
use andon::types::revision::{Era, Revision};
use serde_json::{Map, Value, json};

/// How long a notification that a server sends by itself may take.
const NEWS: Duration = Duration::from_secs(20);

type Outcome = Result<(), String>;

#[tokio::main]
async fn main() {
    if let Err(why) = run().await {
        eprintln!("interop-gateway: {why}");
        std::process::exit(1);
    }
}

async fn run() -> Outcome {
    const USAGE: &str = "interop-gateway PROTOCOL URL PREFIX [own] -- COMMAND";
    let words: Vec<String> = std::env::args().skip(1).collect();
    let split = words.iter().position(|word| word == "--").ok_or(USAGE)?;
    let (own, command) = (&words[..split], &words[split + 1..]);
    let [protocol, url, prefix, rest @ ..] = own else { return Err(USAGE.to_owned()) };
    let program = command.first().ok_or(USAGE)?;
    let revision = Revision::parse(protocol).ok_or(USAGE)?;
    // Servers of others may not know the newest revision; then they are asked in theirs.
    let spoken = Some(revision).filter(|revision| revision.era() == Era::Legacy);
    let pair = Pair {
        direct: if program.starts_with("http") {
            connect(program.as_str(), spoken).await?
        } else {
            connect(Command::new(program).args(&command[1..]), spoken).await?
        },
        through: connect(url.as_str(), Some(revision)).await?,
        prefix: prefix.trim_start_matches('-').to_owned(),
        is_own: rest.iter().any(|word| word == "own"),
        is_legacy: revision.era() == Era::Legacy,
    };
    pair.compare().await?;
    let (direct, through) = (pair.direct.clone(), pair.through.clone());
    drop(pair);
    tokio::join!(direct.close(), through.close());
    Ok(())
}

async fn connect(target: impl Into<Target>, revision: Option<Revision>) -> Result<Client, String> {
    let builder: Builder = Client::builder(target)
        .on_form(|form| async move {
            let asks_for_name = form.schema.pointer("/properties/name").is_some();
            Filled::Accept(if asks_for_name { Map::from_iter([("name".to_owned(), json!("Ada"))]) } else { Map::new() })
        })
        .on_visit(|_| async { Consent::Accept })
        .on_sample(|params| async move {
            let asked = params.get("maxTokens").cloned().unwrap_or_default();
            Ok(json!({ "role": "assistant", "model": "m", "content": { "type": "text", "text": format!("{asked}") } }))
        })
        .roots([Root { uri: "file:///somewhere/here".to_owned(), name: Some("here".to_owned()) }])
        .without_cache();
    let builder = match revision {
        Some(revision) => builder.protocol(revision),
        None => builder,
    };
    builder.connect().await.map_err(|error| error.to_string())
}

/// The same server twice.
pub(crate) struct Pair {
    pub(crate) direct: Client,
    pub(crate) through: Client,
    prefix: String,
    is_own: bool,
    is_legacy: bool,
}

impl Pair {
    async fn compare(&self) -> Outcome {
        let tools = self.lists().await?;
        let table = calls::table();
        let is_called = |tool: &&String| table.iter().any(|(known, _)| known == tool);
        let is_switch = |tool: &&String| calls::SWITCHES.contains(&tool.as_str());
        if let Some(left_out) = tools.iter().find(|tool| !is_called(tool) && !is_switch(tool)) {
            return Err(format!("nobody calls {left_out}: it belongs in the table"));
        }
        let mut compared = 0;
        for (tool, arguments) in table.into_iter().filter(|(tool, _)| tools.iter().any(|name| name == tool)) {
            // What a client opens is asked for when its server begins, and only a session's own server can know whose.
            if tool == "get-roots-list" && !(self.is_own && self.is_legacy) {
                continue;
            }
            if calls::TASKS_ONLY.contains(&tool) && self.through.revision() >= Some(Revision::LATEST_LEGACY) {
                let (direct, through) =
                    (self.task(&self.direct, tool, &arguments).await, self.task(&self.through, tool, &arguments).await);
                equal(&format!("{tool} {arguments} as a task"), &direct?, &through?)?;
                compared += 1;
                // There it is an error of the protocol not to declare tasks, which its server does not know.
                if !self.is_legacy {
                    continue;
                }
            }
            let (direct, through) =
                (self.call(&self.direct, tool, &arguments).await, self.call(&self.through, tool, &arguments).await);
            equal(&format!("{tool} {arguments}"), &direct, &through)?;
            compared += 1;
        }
        let resources = self.resources().await?;
        let prompts = self.prompts().await?;
        let completions = self.completions().await?;
        if tools.iter().any(|name| name == "gzip-file-as-resource") {
            self.links().await?;
        }
        if tools.iter().any(|name| name == "toggle-subscriber-updates") {
            self.updates().await?;
            if self.is_own && self.is_legacy {
                self.logs().await?;
            }
        }
        println!(
            "{} tools, {compared} calls, {resources} resources, {prompts} prompts, {completions} completions are the same",
            tools.len()
        );
        Ok(())
    }

    /// The tools of both, which have to be the same.
    async fn lists(&self) -> Result<Vec<String>, String> {
        let (direct, through) = (self.direct.tools().await, self.through.tools().await);
        let (mut direct, mut through) = (direct.map_err(text)?, through.map_err(text)?);
        // What is not said is so.
        for tool in direct.iter_mut().chain(&mut through) {
            let is_forbidden =
                |execution: &mut Value| execution.get("taskSupport").is_none_or(|says| says == "forbidden");
            tool.execution.take_if(is_forbidden);
        }
        through.retain(|tool| tool.name.starts_with(&self.prefix));
        for tool in &mut through {
            tool.name = tool.name[self.prefix.len()..].to_owned();
            // Only clients of one revision are told which tools run as tasks.
            if self.through.revision() != Some(Revision::LATEST_LEGACY) {
                tool.execution =
                    direct.iter().find(|known| known.name == tool.name).and_then(|known| known.execution.clone());
            }
        }
        equal("tools", &json!(direct), &json!(through))?;
        Ok(direct.into_iter().map(|tool| tool.name).collect())
    }

    fn name(&self, client: &Client, name: &str) -> String {
        let is_direct = std::ptr::eq(client, &self.direct);
        if is_direct { name.to_owned() } else { format!("{}{name}", self.prefix) }
    }

    /// What a call gives, and what it reports on its way.
    async fn call(&self, client: &Client, tool: &str, arguments: &Value) -> Value {
        let reports: Arc<Mutex<Vec<Value>>> = Arc::default();
        let heard = reports.clone();
        let options = Options::default().on_progress(move |report| {
            heard.lock().expect("nobody panics").push(json!([report.progress, report.total, report.message]));
        });
        let arguments = arguments.as_object().cloned().unwrap_or_default();
        let result = client.call_tool_raw(&self.name(client, tool), arguments, options).await;
        let mut result = outcome(result.map(|result| result.parse_owned::<Value>().unwrap_or_default()));
        if !std::ptr::eq(client, &self.direct) {
            self.without_scheme(&mut result);
        }
        let reports = reports.lock().expect("nobody panics").clone();
        plain(json!({ "result": result, "progress": reports }))
    }

    /// A URI that no server lists says through the gateway whose it is; everything else stays as it is.
    fn without_scheme(&self, value: &mut Value) {
        let Some(server) = self.prefix.strip_suffix("__") else { return };
        match value {
            Value::Array(items) => items.iter_mut().for_each(|item| self.without_scheme(item)),
            Value::Object(members) => {
                for (name, member) in members {
                    match member {
                        Value::String(uri) if name == "uri" => {
                            if let Some(own) = uri.strip_prefix(&format!("{server}+")) {
                                *uri = own.to_owned();
                            }
                        }
                        member => self.without_scheme(member),
                    }
                }
            }
            _ => {}
        }
    }

    /// What a call says that there is to read is there, at once.
    async fn links(&self) -> Outcome {
        let arguments = json!({ "name": "z", "data": "data:text/plain,hello", "outputType": "resourceLink" });
        let mut read = Vec::new();
        for client in [&self.direct, &self.through] {
            let name = self.name(client, "gzip-file-as-resource");
            let arguments = arguments.as_object().cloned().unwrap_or_default();
            let said = client.call_tool_raw(&name, arguments, Options::default()).await.map_err(text)?;
            let said = said.parse_owned::<Value>().unwrap_or_default();
            let uri = said.pointer("/content/0/uri").and_then(Value::as_str).ok_or("it links to nothing")?;
            let mut contents = outcome(client.read(uri).await.map(|result| json!(result)));
            if !std::ptr::eq(client, &self.direct) {
                self.without_scheme(&mut contents);
            }
            read.push(plain(contents));
        }
        equal("what a link leads to", &read[0], &read[1])
    }

    /// What a call gives that becomes a task.
    async fn task(&self, client: &Client, tool: &str, arguments: &Value) -> Result<Value, String> {
        let arguments = arguments.as_object().cloned().unwrap_or_default();
        match client.call_task(&self.name(client, tool), arguments, Options::default()).await.map_err(text)? {
            Called::Task(task) => Ok(plain(outcome(task.result().await.map(|result| json!(result))))),
            Called::Result(_) => Err(format!("{tool} is no task")),
        }
    }

    async fn resources(&self) -> Result<usize, String> {
        let read =
            |client: Client, uri: String| async move { outcome(client.read(&uri).await.map(|result| json!(result))) };
        let (direct, through) = (self.direct.resources().await, self.through.resources().await);
        let Ok(direct) = direct else { return Ok(0) };
        let mut through = through.map_err(text)?;
        through.retain(|resource| direct.iter().any(|known| known.uri == resource.uri));
        equal("resources", &json!(direct), &json!(through))?;
        let (known, seen) =
            (self.direct.templates().await.map_err(text)?, self.through.templates().await.map_err(text)?);
        for template in &known {
            let found = seen.iter().find(|other| other.uri_template == template.uri_template);
            equal("a template", &json!(template), &json!(found))?;
        }
        let uris = direct.iter().map(|resource| resource.uri.clone());
        let more =
            ["demo://resource/dynamic/text/1", "demo://resource/dynamic/blob/2", "demo://resource/dynamic/text/x"];
        let more = more.iter().filter(|_| !known.is_empty()).map(|uri| (*uri).to_owned());
        let mut count = 0;
        for uri in uris.chain(more) {
            let (direct, through) =
                tokio::join!(read(self.direct.clone(), uri.clone()), read(self.through.clone(), uri.clone()));
            equal(&format!("resource {uri}"), &plain(direct), &plain(through))?;
            count += 1;
        }
        Ok(count)
    }

    async fn prompts(&self) -> Result<usize, String> {
        let Ok(direct) = self.direct.prompts().await else { return Ok(0) };
        let mut through = self.through.prompts().await.map_err(text)?;
        through.retain(|prompt| prompt.name.starts_with(&self.prefix));
        for prompt in &mut through {
            prompt.name = prompt.name[self.prefix.len()..].to_owned();
        }
        equal("prompts", &json!(direct), &json!(through))?;
        for prompt in &direct {
            let arguments: Map<String, Value> = prompt
                .arguments
                .iter()
                .map(|argument| {
                    let value = match argument.name.as_str() {
                        "resourceType" => "Text",
                        "resourceId" => "1",
                        _ => "Engineering",
                    };
                    (argument.name.clone(), value.into())
                })
                .collect();
            let direct = outcome(self.direct.prompt(&prompt.name, &arguments).await.map(|result| json!(result)));
            let name = self.name(&self.through, &prompt.name);
            let through = outcome(self.through.prompt(&name, &arguments).await.map(|result| json!(result)));
            equal(&format!("prompt {}", prompt.name), &plain(direct), &plain(through))?;
        }
        Ok(direct.len())
    }

    async fn completions(&self) -> Result<usize, String> {
        let is_there =
            self.direct.prompts().await.is_ok_and(|known| known.iter().any(|p| p.name == "completable-prompt"));
        if !is_there {
            return Ok(0);
        }
        let known = [("department".to_owned(), "Engineering".to_owned())].into();
        let prompt = |client: &Client| Reference::Prompt { name: self.name(client, "completable-prompt") };
        let template = |_: &Client| Reference::Resource { uri: "demo://resource/dynamic/text/{resourceId}".to_owned() };
        type Of<'a> = &'a dyn Fn(&Client) -> Reference;
        let cases: [(Of<'_>, _, _); 6] = [
            (&prompt, "department", "S"),
            (&prompt, "department", ""),
            (&prompt, "name", "A"),
            (&prompt, "nope", ""),
            (&template, "resourceId", "1"),
            (&template, "resourceId", "x"),
        ];
        for (of, argument, value) in cases {
            let mut found = Vec::new();
            for client in [&self.direct, &self.through] {
                let completed = client.complete(&of(client), (argument, value), &known).await;
                found.push(outcome(
                    completed.map(|completion| json!([completion.values, completion.total, completion.has_more])),
                ));
            }
            equal(&format!("completion of {argument}"), &found[0], &found[1])?;
        }
        Ok(cases.len())
    }

    /// Changes of a resource reach whoever subscribed to it.
    async fn updates(&self) -> Outcome {
        const URI: &str = "demo://resource/static/document/features.md";
        let mut listening = self.through.listen(Listen::default().uri(URI)).await.map_err(text)?;
        let name = self.name(&self.through, "toggle-subscriber-updates");
        self.through.call_tool_raw(&name, Map::new(), Options::default()).await.map_err(text)?;
        let news = async {
            loop {
                match listening.next().await {
                    Some(Event::ResourceUpdated(uri)) if uri == URI => return Ok(()),
                    Some(_) => {}
                    None => return Err("the client is gone".to_owned()),
                }
            }
        };
        tokio::time::timeout(NEWS, news).await.map_err(|_| "no update of a resource came".to_owned())??;
        self.through.call_tool_raw(&name, Map::new(), Options::default()).await.map(drop).map_err(text)
    }

    /// What a server logs by itself reaches the session that has it to itself.
    async fn logs(&self) -> Outcome {
        let mut events = self.through.events();
        self.through.set_log_level(Level::Debug).await.map_err(text)?;
        let name = self.name(&self.through, "toggle-simulated-logging");
        self.through.call_tool_raw(&name, Map::new(), Options::default()).await.map_err(text)?;
        let news = async {
            // The first may still belong to the call.
            let mut count = 0;
            while count < 2 {
                match events.next().await {
                    Some(Event::Log { .. }) => count += 1,
                    Some(_) => {}
                    None => return Err("the client is gone".to_owned()),
                }
            }
            Ok(())
        };
        tokio::time::timeout(NEWS, news).await.map_err(|_| "no logs came".to_owned())??;
        self.through.call_tool_raw(&name, Map::new(), Options::default()).await.map(drop).map_err(text)
    }
}

fn text(error: andon::client::Error) -> String {
    error.to_string()
}

/// A result, or an error as its code and message; that a resource is not there has a code of its own in each era.
fn outcome(result: Result<Value, andon::client::Error>) -> Value {
    match result {
        Ok(value) => value,
        Err(andon::client::Error::Protocol(error)) => json!({ "error": error.message, "code": error.code }),
        Err(error) => json!({ "failure": error.to_string() }),
    }
}

/// Without what each era adds, and without times and random names.
fn plain(mut value: Value) -> Value {
    if let Value::Object(members) = &mut value {
        for name in ["resultType", "_meta", "ttlMs", "cacheScope"] {
            members.remove(name);
        }
        // What is not said is so.
        if let Some(Value::Object(result)) = members.get_mut("result") {
            ["resultType", "_meta"].iter().for_each(|name| drop(result.remove(*name)));
            if result.get("isError") == Some(&Value::Bool(false)) {
                result.remove("isError");
            }
        }
    }
    calls::still(&mut value);
    value
}

fn equal(what: &str, direct: &Value, through: &Value) -> Outcome {
    if direct == through {
        return Ok(());
    }
    Err(format!("{what} is not the same\ndirectly: {direct:#}\nthrough Andon: {through:#}"))
}
