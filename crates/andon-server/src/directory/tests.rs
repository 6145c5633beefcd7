use std::os::unix::fs::symlink;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use serde_json::json;

use super::{Directory, DirectoryError};
use crate::entry::ResourceEntry;
use crate::principal::Principal;
use crate::server::Server;
use crate::testing::{Client, ClientOptions};

/// A folder with a secret beside it.
fn folder() -> (tempfile::TempDir, Directory) {
    let outer = tempfile::tempdir().unwrap();
    let inner = outer.path().join("served");
    std::fs::create_dir_all(inner.join("a/b")).unwrap();
    std::fs::create_dir_all(outer.path().join("served-evil")).unwrap();
    std::fs::write(outer.path().join("secret"), "secret").unwrap();
    std::fs::write(outer.path().join("served-evil/secret"), "secret").unwrap();
    std::fs::write(inner.join("hello.txt"), "hello").unwrap();
    std::fs::write(inner.join("a/b/deep one.md"), "# deep").unwrap();
    std::fs::write(inner.join("raw.bin"), [0xFF, 0xFE]).unwrap();
    let directory = Directory::open(&inner).unwrap();
    (outer, directory)
}

fn text(directory: &Directory, uri: &str) -> Option<String> {
    directory.read(uri).ok()?.text
}

#[test]
fn files_are_listed_and_read() {
    let (_outer, directory) = folder();
    let listed = directory.list().unwrap();
    assert_eq!(listed, ["file:///a/b/deep%20one.md", "file:///hello.txt", "file:///raw.bin"]);
    assert!(listed.iter().all(|uri| directory.read(uri).is_ok()));
    assert_eq!(text(&directory, "FILE:///hello%2etxt").as_deref(), Some("hello"));
    let raw = directory.read("file:///raw.bin").unwrap();
    assert_eq!((raw.blob.as_deref(), raw.mime_type.as_deref()), (Some("//4="), Some("application/octet-stream")));
}

#[test]
fn u1_u2_u5_u6_traversal_is_refused() {
    let (_outer, directory) = folder();
    for uri in [
        "file:///../secret",
        "file:///%2e%2e/secret",
        "file:///..%2fsecret",
        "file:///%2e%2e%2fsecret",
        "file:///%252e%252e/secret",
        "file:///a/..;/../secret",
        "file:///..%5csecret",
        "file:///a/../../secret",
        "file:///../served-evil/secret",
        "file:///./../secret",
        "file:////secret",
        "file:///a//b/deep%20one.md",
        "file://host/hello.txt",
        "file:hello.txt",
        "file://user@/hello.txt",
        "file://:80/hello.txt",
        "file:///hello.txt%00",
        "file:///hello.txt?x",
        "file:///hello.txt#x",
        "file:///%c0%ae%c0%ae/secret",
        "file:///%ff",
        "file:///hello.txt/",
        "file:///",
        "file:///a",
        "other:///hello.txt",
    ] {
        assert_eq!(text(&directory, uri), None, "{uri}");
    }
}

#[test]
fn u3_only_regular_files_of_one_name_are_read() {
    let (outer, directory) = folder();
    let served = outer.path().join("served");
    symlink(outer.path().join("secret"), served.join("link")).unwrap();
    symlink(outer.path(), served.join("up")).unwrap();
    symlink("hello.txt", served.join("inside")).unwrap();
    symlink("/proc/self/root", served.join("root")).unwrap();
    std::fs::hard_link(outer.path().join("secret"), served.join("hard")).unwrap();
    rustix::fs::mkfifoat(rustix::fs::CWD, served.join("pipe"), rustix::fs::Mode::from_raw_mode(0o644)).unwrap();
    for name in ["link", "up/secret", "inside", "root/etc/hostname", "hard", "pipe"] {
        let read = directory.read(&format!("file:///{name}"));
        assert!(matches!(read, Err(DirectoryError::NotFound)), "{name}: {read:?}");
    }
    let devices = Directory::open("/dev").unwrap();
    assert!(matches!(devices.read("file:///zero"), Err(DirectoryError::NotFound)));
}

#[test]
fn u4_swapping_links_never_escapes() {
    let (outer, directory) = folder();
    let served = outer.path().join("served");
    let is_over = AtomicBool::new(false);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            let (good, evil) = (served.join("good"), served.join("evil"));
            std::fs::create_dir(&good).unwrap();
            std::fs::write(good.join("secret"), "harmless").unwrap();
            symlink(outer.path(), &evil).unwrap();
            let now = served.join("now");
            while !is_over.load(Ordering::Relaxed) {
                for from in [&good, &evil] {
                    std::fs::rename(from, &now).unwrap();
                    std::fs::rename(&now, from).unwrap();
                }
            }
        });
        for _ in 0..20_000 {
            let read = text(&directory, "file:///now/secret");
            assert!(read.is_none_or(|text| text == "harmless"));
        }
        is_over.store(true, Ordering::Relaxed);
    });
}

#[test]
fn u13_files_are_bounded_however_they_end() {
    let (_outer, directory) = folder();
    let directory = directory.file_bytes_max(4);
    assert!(matches!(directory.read("file:///hello.txt"), Err(DirectoryError::TooLarge(4))));
    assert!(directory.read("file:///raw.bin").is_ok());
}

#[tokio::test]
async fn a_folder_is_registered_like_anything_else() {
    let (_outer, directory) = folder();
    let client = Server::new("files", "1").with(directory.uri_base("docs://all").unwrap()).client().await;
    let read = client.request("resources/read", json!({"uri": "docs://all/a/b/deep%20one.md"})).await.unwrap();
    assert_eq!(read["contents"][0]["text"], "# deep");
    assert_eq!(client.request("resources/list", json!({})).await.unwrap()["resources"].as_array().unwrap().len(), 3);
    assert!(client.request("resources/read", json!({"uri": "docs://all/..%2fsecret"})).await.is_err());
}

async fn listed(client: &Client) -> Vec<String> {
    let mut uris = Vec::new();
    let mut cursor = json!({});
    loop {
        let page = client.request("resources/list", cursor).await.unwrap();
        uris.extend(page["resources"].as_array().unwrap().iter().map(|it| it["uri"].as_str().unwrap().to_owned()));
        match page.get("nextCursor") {
            Some(next) => cursor = json!({ "cursor": next }),
            None => return uris,
        }
    }
}

#[tokio::test]
async fn lists_are_current() {
    let (outer, directory) = folder();
    let served = outer.path().join("served");
    let by_hand = ResourceEntry::from_fn("file:///later", "by hand", |_, _| async { "by hand" });
    let directory = directory.list_age_max(Duration::ZERO);
    let server = Server::new("files", "1").with((by_hand, directory)).page_size(2);
    let catalogue = server.catalogue();
    let client = server.client().await;
    let at_first = ["file:///later", "file:///a/b/deep%20one.md", "file:///hello.txt", "file:///raw.bin"];
    assert_eq!(listed(&client).await, at_first);

    std::fs::write(served.join("new one"), "new").unwrap();
    std::fs::write(served.join("later"), "a file").unwrap();
    std::fs::remove_file(served.join("hello.txt")).unwrap();
    symlink(outer.path().join("secret"), served.join("link")).unwrap();
    let now = ["file:///later", "file:///a/b/deep%20one.md", "file:///raw.bin", "file:///new%20one"];
    assert_eq!(listed(&client).await, now);
    assert_eq!(client.notification().await.unwrap().0, "notifications/resources/list_changed");
    let read = async |uri: &str| client.request("resources/read", json!({ "uri": uri })).await;
    assert_eq!(read("file:///new%20one").await.unwrap()["contents"][0]["text"], "new");
    assert_eq!(read("file:///later").await.unwrap()["contents"][0]["text"], "by hand");
    assert!(read("file:///hello.txt").await.is_err());

    // What was registered by hand stays when a file of its name goes.
    std::fs::remove_file(served.join("later")).unwrap();
    assert_eq!(listed(&client).await, now);
    catalogue.announce(true, false, false);
    assert_eq!(client.notification().await.unwrap().0, "notifications/tools/list_changed", "nothing else changed");
}

#[tokio::test]
async fn a_folder_is_looked_through_only_so_often() {
    let (outer, directory) = folder();
    let client = Server::new("files", "1").with(directory.list_age_max(Duration::from_secs(3600))).client().await;
    std::fs::write(outer.path().join("served/new"), "new").unwrap();
    assert_eq!(listed(&client).await.len(), 3);
    let read = client.request("resources/read", json!({"uri": "file:///new"})).await.unwrap();
    assert_eq!(read["contents"][0]["text"], "new", "what is not listed yet can be read");
}

#[tokio::test]
async fn a_folder_may_need_a_scope() {
    let (_outer, directory) = folder();
    let server = Server::new("files", "1").with(directory.scope("files:read"));
    let host = server.build().unwrap_or_else(|error| panic!("{error}"));
    let client = Client::connect(&host, ClientOptions::default()).await;
    assert_eq!(listed(&client).await, [""; 0]);
    for uri in ["file:///hello.txt", "file:///a/b/deep%20one.md"] {
        assert!(client.request("resources/read", json!({ "uri": uri })).await.is_err());
    }
    let principal = Principal::verified("ann", ["files:read".to_owned()]);
    let client = Client::connect(&host, ClientOptions::default().principal(principal)).await;
    assert_eq!(listed(&client).await.len(), 3);
}
