//! The names of items stay free for variables, parameters and modules: this compiles.

use andon::prelude::*;

#[tool]
async fn item(item: String) -> String {
    item
}

mod nested {
    use andon::prelude::*;

    /// Seen from outside.
    #[tool(name = "loop")]
    pub(crate) async fn r#type(#[default] r#fn: bool, _ctx: Context) -> bool {
        r#fn
    }
}

#[test]
fn names_of_items_stay_free() {
    let item = Server::new("s", "1").with((item, nested::r#type));
    let _ = item;
}
