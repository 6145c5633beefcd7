use andon::prelude::*;

struct Secret;

#[tool]
async fn reveal(name: String, secret: Secret) -> String {
    drop(secret);
    name
}

fn main() {}
