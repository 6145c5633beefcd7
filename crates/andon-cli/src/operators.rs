//! Where operators come in to a server that this command serves.

use std::path::Path;

use andon::Error;
use andon::http::{Admin, AdminToken};

/// The socket in the directory of `--data`.
pub(crate) const SOCKET: &str = "admin.sock";
/// The file with the token, beside it.
pub(crate) const TOKEN_FILE: &str = "admin.token";
/// The variable of the environment that has the token instead.
pub(crate) const TOKEN_VARIABLE: &str = "ANDON_ADMIN_TOKEN";

/// The endpoint for operators: a socket in the directory `data`, and the loopback address `address`. Without either, nobody
/// comes in.
///
/// # Errors
/// When the address cannot be used, or there is no token for it. A socket that cannot be made is only logged: clients are
/// served without it.
pub(crate) fn admin(data: Option<&Path>, address: Option<&str>) -> andon::Result<Admin> {
    let admin = match data {
        Some(folder) => with_socket(folder),
        None => Admin::new(),
    };
    let Some(address) = address else { return Ok(admin) };
    let token = match (std::env::var(TOKEN_VARIABLE), data) {
        (Ok(token), _) => AdminToken::new(token)?,
        (Err(_), Some(folder)) => AdminToken::kept_in(folder.join(TOKEN_FILE))?,
        (Err(_), None) => {
            let why = format!("--admin needs a token: set {TOKEN_VARIABLE}, or give --data DIR, where one is kept");
            return Err(Error::misuse(why));
        }
    };
    admin.address(address, token)
}

#[cfg(unix)]
fn with_socket(folder: &Path) -> Admin {
    Admin::new().socket(folder.join(SOCKET)).unwrap_or_else(|error| {
        tracing::warn!(%error, "there is no socket for operators");
        Admin::new()
    })
}

#[cfg(not(unix))]
fn with_socket(_folder: &Path) -> Admin {
    Admin::new()
}
