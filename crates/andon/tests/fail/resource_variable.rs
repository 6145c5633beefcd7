use andon::prelude::*;

#[resource("notes://{id}/{page}")]
async fn note(id: u32, owner: String) -> String {
    format!("{id} {owner}")
}

#[resource("notes://readme")]
async fn readme(id: u32) -> String {
    id.to_string()
}

fn main() {}
