use andon::prelude::*;

#[tool]
async fn find(query: Args<Value>, limit: u32) -> String {
    format!("{} {limit}", query.0)
}

fn main() {}
