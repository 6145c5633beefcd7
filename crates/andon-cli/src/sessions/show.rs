//! Sessions for people.

use andon::serde::Serialize;
use andon::serde_json::json;
use andon::server::host::operators::{SessionDetail, SessionView, State, Transport};

use crate::client::Failure;
use crate::client::show::{harmless_line, print, table};

/// A row each.
pub(super) fn sessions(sessions: &[SessionView]) -> Result<(), Failure> {
    const HEAD: [&str; 13] = [
        "NAME",
        "STATE",
        "REVISION",
        "CLIENT",
        "PRINCIPAL",
        "VIA",
        "STREAMS",
        "CALLS",
        "SUBSCRIBED",
        "BUFFERED",
        "AGE",
        "IDLE",
        "EXPIRES IN",
    ];
    let rows = sessions.iter().map(row);
    let head = (!sessions.is_empty()).then(|| HEAD.map(str::to_owned).to_vec());
    table(head.into_iter().chain(rows).collect(), "no sessions")
}

fn row(session: &SessionView) -> Vec<String> {
    let none = || "-".to_owned();
    vec![
        session.name.to_string(),
        state(session),
        session.revision.clone().unwrap_or_else(none),
        session.client.as_ref().map_or_else(none, |client| format!("{} {}", client.name, client.version)),
        session.principal.clone().unwrap_or_else(none),
        via(session),
        format!("{}+{}", session.streams_open, session.streams_kept),
        session.requests.to_string(),
        session.subscriptions.to_string(),
        session.bytes_buffered.map_or_else(none, bytes),
        time(session.age_ms),
        time(session.idle_ms),
        session.expires_in_ms.map_or_else(none, time),
    ]
}

/// All of one.
pub(super) fn session(session: &SessionView) -> Result<(), Failure> {
    let line = |what: &str, value: &str| print(&format!("{what:<14}{}", harmless_line(value)));
    line("name", &session.name.to_string())?;
    line("state", &format!("{} ({})", word(&session.state), word(&session.phase)))?;
    line("revision", session.revision.as_deref().unwrap_or("none yet"))?;
    let client = session.client.as_ref().map(|client| format!("{} {}", client.name, client.version));
    line("client", client.as_deref().unwrap_or("does not say"))?;
    line("principal", session.principal.as_deref().unwrap_or("none: without authentication"))?;
    line("transport", &word(&session.transport))?;
    let place = if session.is_in_memory { "in memory" } else { "only in the store" };
    line("place", &format!("{place}, epoch {}", session.epoch))?;
    line("opened", &format!("{} ago", time(session.age_ms)))?;
    line("last used", &format!("{} ago", time(session.idle_ms)))?;
    let expires = session.expires_in_ms.map(|ms| format!("in {}", time(ms)));
    line("expires", expires.as_deref().unwrap_or("not as it stands"))?;
    let (events, size) = (session.events_buffered.unwrap_or(0), session.bytes_buffered.unwrap_or(0));
    line("buffered", &format!("{events} events, {}", bytes(size)))?;
    match &session.detail {
        Some(detail) => details(detail),
        None => Ok(()),
    }
}

fn details(detail: &SessionDetail) -> Result<(), Failure> {
    let list = |what: &str, lines: Vec<String>| {
        print(&format!("{what:<14}{}", lines.len()))?;
        lines.iter().try_for_each(|line| print(&format!("  {}", harmless_line(line))))
    };
    let streams = detail.streams.iter().map(|stream| {
        let standing = if stream.is_open { "open" } else { "kept" };
        let (events, size) = (stream.events_buffered, bytes(stream.bytes_buffered));
        format!("{} {}, {standing}, {events} events, {size}", stream.id, word(&stream.kind))
    });
    list("streams", streams.collect())?;
    let requests = detail.requests.iter().map(|request| {
        let name = request.name.as_deref().map(|name| format!(" {name}")).unwrap_or_default();
        format!("{}{name}, id {}, for {}", request.method, json!(request.id), time(request.age_ms))
    });
    list("calls", requests.collect())?;
    let questions = detail.questions.iter().map(|asked| format!("{}, for {}", asked.method, time(asked.age_ms)));
    list("questions", questions.collect())?;
    list("subscribed to", detail.subscriptions.iter().map(|uri| uri.as_ref().to_owned()).collect())?;
    print(&format!("{:<14}{}", "log level", word(&detail.log_level)))
}

/// A session whose handshake is not complete is told by how far it is.
fn state(session: &SessionView) -> String {
    if session.state == State::Negotiation { word(&session.phase) } else { word(&session.state) }
}

fn via(session: &SessionView) -> String {
    match (session.transport, session.is_in_memory) {
        (Transport::Http, false) => "store".to_owned(),
        (transport, _) => word(&transport),
    }
}

/// One of a few words, as programs get it.
fn word(value: &impl Serialize) -> String {
    json!(value).as_str().unwrap_or_default().to_owned()
}

/// A time in its largest unit.
fn time(ms: u64) -> String {
    match ms {
        0..1_000 => format!("{ms} ms"),
        1_000..120_000 => format!("{} s", ms / 1_000),
        120_000..7_200_000 => format!("{} min", ms / 60_000),
        7_200_000..172_800_000 => format!("{} h", ms / 3_600_000),
        _ => format!("{} d", ms / 86_400_000),
    }
}

fn bytes(bytes: usize) -> String {
    match bytes {
        0..10_000 => format!("{bytes} B"),
        10_000..10_000_000 => format!("{} kB", bytes / 1_000),
        _ => format!("{} MB", bytes / 1_000_000),
    }
}

#[cfg(test)]
mod tests {
    use super::{bytes, time};

    #[test]
    fn times_and_sizes_are_short() {
        let times = [(999, "999 ms"), (1_000, "1 s"), (119_999, "119 s"), (120_000, "2 min"), (7_200_000, "2 h")];
        for (ms, said) in times.into_iter().chain([(172_800_000, "2 d"), (86_400_000 * 400, "400 d")]) {
            assert_eq!(time(ms), said);
        }
        for (size, said) in [(0, "0 B"), (9_999, "9999 B"), (10_000, "10 kB"), (12_345_678, "12 MB")] {
            assert_eq!(bytes(size), said);
        }
    }
}
