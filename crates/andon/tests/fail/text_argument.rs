use andon::prelude::*;

struct Language;

#[prompt]
async fn review(code: String, language: Language) -> String {
    drop(language);
    code
}

fn main() {}
