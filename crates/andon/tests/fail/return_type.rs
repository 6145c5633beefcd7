use andon::prelude::*;

struct Opaque;

#[tool]
async fn own() -> Opaque {
    Opaque
}

#[tool]
async fn hidden() -> impl Serialize {
    5
}

fn main() {}
