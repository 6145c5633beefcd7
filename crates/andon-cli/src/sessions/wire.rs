//! One request to the endpoint for operators of a running server.

use std::io::{self, ErrorKind, Read, Write};
use std::net::{TcpStream, ToSocketAddrs as _};
use std::path::{Path, PathBuf};
use std::time::Duration;

use andon::serde_json::{self, Value};

use crate::client::Failure;
use crate::operators::{SOCKET, TOKEN_FILE, TOKEN_VARIABLE};

/// How long the server may take for a piece of its answer.
const PATIENCE: Duration = Duration::from_secs(35);
/// Bytes of an answer. A server that says more is not believed.
const ANSWER_BYTES_MAX: u64 = 64 << 20;

/// Where a server can be asked.
pub(crate) enum Place {
    /// A socket.
    Socket(PathBuf),
    /// An address, with the token.
    Address(String, String),
}

impl Place {
    /// What the command line says.
    pub(crate) fn find(data: Option<&Path>, address: Option<&str>) -> Result<Self, Failure> {
        match (address, data) {
            (Some(address), data) => Ok(Self::Address(address.to_owned(), token(data)?)),
            (None, Some(folder)) if cfg!(unix) => Ok(Self::Socket(folder.join(SOCKET))),
            (None, _) => {
                Err(Failure::Usage("which server? give --data DIR or --admin HOST:PORT, as it has".to_owned()))
            }
        }
    }

    /// Asks, and gives what the server answers.
    pub(crate) fn ask(&self, method: &str, target: &str) -> Result<Value, Failure> {
        let request = |host: &str, more: &str| {
            format!("{method} {target} HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n{more}\r\n")
        };
        let answer = match self {
            Self::Socket(path) => exchange_by_socket(path, &request("localhost", "")),
            Self::Address(address, token) => {
                connect(address).and_then(|stream| {
                    // Who listens there is on this machine; the name that it is known by may differ.
                    let host = format!("localhost:{}", stream.peer_addr()?.port());
                    stream.set_read_timeout(Some(PATIENCE))?;
                    exchange(stream, &request(&host, &format!("Authorization: Bearer {token}\r\n")))
                })
            }
        };
        let answer = answer.map_err(|error| self.unreachable(&error))?;
        let (status, body) = read(&answer).ok_or_else(|| {
            Failure::Io(format!("what answers at {} is not a server of Andon's, or it broke off", self.name()))
        })?;
        let why = || body["error"].as_str().unwrap_or("it does not say why").to_owned();
        match status {
            200 => Ok(body),
            401 => {
                let name = self.name();
                Err(Failure::Login(format!("{name} has another token: give its --data DIR, or set {TOKEN_VARIABLE}")))
            }
            403 => Err(Failure::Login(format!("{}: {}", self.name(), why()))),
            _ => Err(Failure::Refused(why())),
        }
    }

    fn name(&self) -> String {
        match self {
            Self::Socket(path) => path.display().to_string(),
            Self::Address(address, _) => address.clone(),
        }
    }

    fn unreachable(&self, error: &io::Error) -> Failure {
        let name = self.name();
        match (error.kind(), self) {
            (ErrorKind::PermissionDenied, Self::Socket(_)) => {
                Failure::Login(format!("{name} is another user's: only they and root can use it"))
            }
            (ErrorKind::NotFound | ErrorKind::ConnectionRefused, Self::Socket(path)) => {
                let folder = path.parent().unwrap_or(path).display();
                Failure::Io(format!("nobody listens at {name}: is andon serve --data {folder} running?"))
            }
            (ErrorKind::ConnectionRefused, Self::Address(..)) => {
                Failure::Io(format!("nobody listens at {name}: is andon serve --admin {name} running?"))
            }
            _ => Failure::Io(format!("{name} cannot be asked: {error}")),
        }
    }
}

/// The token for an address: from the environment, or from the directory of the server.
fn token(data: Option<&Path>) -> Result<String, Failure> {
    let text = match (std::env::var(TOKEN_VARIABLE), data) {
        (Ok(token), _) => token,
        (Err(_), Some(folder)) => {
            let path = folder.join(TOKEN_FILE);
            std::fs::read_to_string(&path)
                .map_err(|error| Failure::Login(format!("the token in {}: {error}", path.display())))?
        }
        (Err(_), None) => {
            let why = format!("the operators' token is missing: set {TOKEN_VARIABLE}, or give --data DIR, where it is");
            return Err(Failure::Login(why));
        }
    };
    let token = text.trim();
    if token.is_empty() || !token.bytes().all(|byte| byte.is_ascii_graphic()) {
        return Err(Failure::Login("the operators' token has visible characters, and no spaces".to_owned()));
    }
    Ok(token.to_owned())
}

fn connect(address: &str) -> io::Result<TcpStream> {
    let refuse = |why: &str| io::Error::new(ErrorKind::InvalidInput, why);
    let found = address.to_socket_addrs()?.next().ok_or_else(|| refuse("it has no address"))?;
    if !found.ip().is_loopback() {
        return Err(refuse("the token is for this machine only: give a loopback address"));
    }
    TcpStream::connect_timeout(&found, Duration::from_secs(5))
}

#[cfg(unix)]
fn exchange_by_socket(path: &Path, request: &str) -> io::Result<Vec<u8>> {
    let stream = std::os::unix::net::UnixStream::connect(path)?;
    stream.set_read_timeout(Some(PATIENCE))?;
    exchange(stream, request)
}

#[cfg(not(unix))]
fn exchange_by_socket(_path: &Path, _request: &str) -> io::Result<Vec<u8>> {
    Err(ErrorKind::Unsupported.into())
}

fn exchange(mut stream: impl Read + Write, request: &str) -> io::Result<Vec<u8>> {
    stream.write_all(request.as_bytes())?;
    let mut answer = Vec::new();
    stream.take(ANSWER_BYTES_MAX).read_to_end(&mut answer)?;
    Ok(answer)
}

/// Status and JSON of an answer that is complete.
fn read(answer: &[u8]) -> Option<(u16, Value)> {
    let text = std::str::from_utf8(answer).ok()?;
    let (head, body) = text.split_once("\r\n\r\n")?;
    let mut lines = head.lines();
    let status = lines.next()?.strip_prefix("HTTP/1.1 ")?.split(' ').next()?.parse().ok()?;
    let mut fields = lines.filter_map(|line| line.split_once(':'));
    let length: usize = fields.find(|(name, _)| name.eq_ignore_ascii_case("content-length"))?.1.trim().parse().ok()?;
    let is_whole = length == body.len();
    is_whole.then(|| serde_json::from_str(body).ok()).flatten().map(|body| (status, body))
}

/// A value in a query.
pub(super) fn encoded(value: &str) -> String {
    let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.' | b'~');
    let encode = |byte: u8| if is_plain(byte) { char::from(byte).to_string() } else { format!("%{byte:02X}") };
    value.bytes().map(encode).collect()
}

#[cfg(test)]
mod tests {
    use super::{encoded, read};

    #[test]
    fn values_cannot_leave_their_parameter() {
        assert_eq!(encoded("a-1_b.c~"), "a-1_b.c~");
        assert_eq!(encoded("a&max=1 +\u{e9}\r\n"), "a%26max%3D1%20%2B%C3%A9%0D%0A");
    }

    #[test]
    fn an_answer_is_whole_or_none() {
        let whole = "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}";
        assert_eq!(read(whole.as_bytes()).map(|(status, _)| status), Some(200));
        for bad in [
            &whole[..whole.len() - 1],
            "",
            "HTTP/1.1 200 OK\r\n\r\n{}",
            "HTTP/1.0 200 OK\r\nContent-Length: 2\r\n\r\n{}",
            "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nno",
            "SSH-2.0-OpenSSH\r\n",
        ] {
            assert_eq!(read(bad.as_bytes()), None, "{bad:?}");
        }
    }
}
