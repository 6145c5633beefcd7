use serde_json::json;

use super::{TaskInfo, TaskStatus, declares_tasks, iso8601};
use crate::revision::Revision;

#[test]
fn times_are_iso_8601() {
    for (ms, text) in [
        (0, "1970-01-01T00:00:00.000Z"),
        (951_782_400_000, "2000-02-29T00:00:00.000Z"),
        (951_868_799_999, "2000-02-29T23:59:59.999Z"),
        (1_709_210_096_007, "2024-02-29T12:34:56.007Z"),
        (1_735_689_600_000, "2025-01-01T00:00:00.000Z"),
        (4_107_542_399_000, "2100-02-28T23:59:59.000Z"),
        (4_107_542_400_000, "2100-03-01T00:00:00.000Z"),
    ] {
        assert_eq!(iso8601(ms), text);
    }
}

#[test]
fn both_spellings_are_written_and_read() {
    let info = TaskInfo {
        task_id: "t".into(),
        status: TaskStatus::InputRequired,
        status_message: Some("asks".into()),
        created_at: iso8601(0),
        last_updated_at: iso8601(1),
        ttl_ms: Some(60_000),
        poll_interval_ms: Some(500),
    };
    for (revision, ttl, poll) in
        [(Revision::LATEST_LEGACY, "ttl", "pollInterval"), (Revision::LATEST, "ttlMs", "pollIntervalMs")]
    {
        let members = info.members(revision.rules());
        assert_eq!((&members[ttl], &members[poll]), (&json!(60_000), &json!(500)), "{revision}");
        assert_eq!(members.len(), 7, "{revision}: nothing of the other spelling");
        assert_eq!(serde_json::from_value::<TaskInfo>(members.into()).unwrap(), info, "{revision}");
    }
}

#[test]
fn task_e_only_the_extension_declares_tasks() {
    let declared = |capabilities: serde_json::Value| {
        let capabilities: crate::capability::ClientCapabilities = serde_json::from_value(capabilities).unwrap();
        declares_tasks(capabilities.extensions.as_ref())
    };
    assert!(declared(json!({"extensions": {"io.modelcontextprotocol/tasks": {}}})));
    assert!(!declared(json!({"tasks": {"requests": {}}})));
    assert!(!declared(json!({"extensions": {"io.modelcontextprotocol/tasks": null}})));
    assert!(!declared(json!({"extensions": {}})));
}
