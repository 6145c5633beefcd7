use andon::prelude::*;

#[tool(readonly)]
async fn unknown() {}

#[tool(timeout = "30")]
async fn unit() {}

#[tool(read_only = "yes")]
async fn kind() {}

#[tool(title = "a", title = "b")]
async fn twice() {}

#[tool(header(region = "Region"))]
async fn header(name: String) -> String {
    name
}

#[prompt(complete(language = names))]
async fn complete(code: String) -> String {
    code
}

#[resource(mime = "text/plain")]
async fn no_uri() -> String {
    String::new()
}

#[tool(task = "always")]
async fn tasks() {}

fn main() {}
