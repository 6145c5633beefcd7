use andon::prelude::*;

#[tool]
fn greet(name: String) -> String {
    name
}

fn main() {}
