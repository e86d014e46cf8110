//! The guides and the search of a running daemon.

use std::{
    collections::{BTreeMap, BTreeSet},
    io::Read as _,
};

use countersign::http::{guides::GUIDES, problem::Code};

use crate::{
    contract::{get_bytes, get_large},
    daemon::{Daemon, ReceivedResponse, TestStore, WAHA, World},
};

/// Fetches a page of any size; the usual client stops before the end of the API reference.
fn page(daemon: &Daemon, path: &str) -> ReceivedResponse {
    get_large(&url::Url::parse(&format!("{}{path}", daemon.base)).unwrap(), &[])
}

/// The text between each `before` and the next quote.
fn between<'a>(text: &'a str, before: &str) -> Vec<&'a str> {
    text.split(before).skip(1).filter_map(|rest| rest.split('"').next()).collect()
}

fn anchors(daemon: &Daemon, path: &str) -> BTreeSet<String> {
    let page = page(daemon, path);
    assert_eq!(page.status, 200, "{path}");
    between(&page.text, " id=\"").into_iter().map(str::to_owned).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn every_link_in_a_guide_has_a_target() {
    let world = World::new(TestStore::directory());
    let daemon = world.start().await;
    let mut known = BTreeMap::from([("/docs".to_owned(), anchors(&daemon, "/docs"))]);
    for guide in GUIDES {
        let path = format!("/docs/{}", guide.slug);
        known.insert(path.clone(), anchors(&daemon, &path));
    }
    for guide in GUIDES {
        let base = url::Url::parse(&format!("http://daemon/docs/{}", guide.slug)).unwrap();
        let page = daemon.get(base.path()).await;
        assert!(page.header("content-security-policy").starts_with("default-src 'none'; script-src 'sha256-"));
        assert!(page.text.contains(&format!("<h1>{}</h1>", guide.title())), "{}", guide.slug);
        for link in between(&page.text, "href=\"") {
            let url = base.join(link).unwrap();
            if url.host_str() != Some("daemon") {
                assert!(
                    url.scheme() == "https" || link.starts_with("data:") || url.host_str() == Some("localhost"),
                    "{}: {link}",
                    guide.slug
                );
                continue;
            }
            let anchors = known.get(url.path()).unwrap_or_else(|| panic!("{}: {link} leads nowhere", guide.slug));
            let found = url.fragment().is_none_or(|fragment| anchors.contains(fragment));
            assert!(found, "{}: {link} has no such anchor", guide.slug);
        }
    }
    assert_eq!(daemon.get("/docs/no-such-guide").await.status, 404);
    daemon.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_type_of_a_problem_is_the_address_of_its_entry() {
    let world = World::new(TestStore::directory());
    let daemon = world.start().await;
    let refused = daemon.get_as("wrong", "/api/otp/v2/x/requests").await;
    let (path, fragment) = refused.json["type"].as_str().unwrap().split_once('#').unwrap();
    assert_eq!((path, fragment), ("/docs", refused.json["code"].as_str().unwrap()));
    let page = page(&daemon, path);
    for code in Code::ALL {
        let row = page.text.split(&format!("<tr id=\"{}\">", code.as_str())).nth(1).unwrap();
        assert!(row.split("</tr>").next().unwrap().contains(code.title()), "{}", code.as_str());
    }
    daemon.finish().await;
}

/// An address that a person types or that a phone restores never shows JSON; a program gets problem+json as before.
#[tokio::test(flavor = "multi_thread")]
async fn a_browser_gets_a_page_on_every_path() {
    const BROWSER: &str = "text/html,application/xhtml+xml,*/*;q=0.8";
    let world = World::new(TestStore::directory());
    let daemon = world.start().await;
    let ask = async |method: &str, path: &str, accept: &str| {
        let request =
            http::Request::builder().method(method).uri(format!("{}{path}", daemon.base)).header("accept", accept);
        daemon.send(request.header("accept-language", "es").body(Vec::new()).unwrap()).await
    };
    let api = format!("/api/otp/v2/{WAHA}/requests");
    for (method, path) in [
        ("GET", "/nothing"),
        ("PUT", "/l/x/code"),
        ("GET", "/l/"),
        ("GET", "/docs/no-such-guide"),
        ("GET", api.as_str()),
        ("GET", "/v2/auth/otp/send"),
        ("PUT", "/docs"),
    ] {
        let page = ask(method, path, BROWSER).await;
        assert!(page.status >= 400, "{path}: {}", page.status);
        assert!(
            page.header("content-type").starts_with("text/html")
                && page.text.contains("<html lang=\"es\"")
                && page.text.contains("icon unknown"),
            "{path}: {}",
            page.text
        );
        assert!(page.header("content-security-policy").starts_with("default-src 'none'"), "{path}");
        let program = ask(method, path, "*/*").await;
        assert_eq!(
            (program.status, program.header("content-type")),
            (page.status, "application/problem+json"),
            "{path}"
        );
    }
    // A page of its own.
    let reply = ask("POST", "/o/x", BROWSER).await;
    assert!(reply.status == 410 && reply.header("content-type").starts_with("text/html"), "{}", reply.text);
    assert_eq!(ask("POST", "/o/x", "*/*").await.header("content-type"), "application/problem+json");
    assert!(ask("PUT", "/docs", BROWSER).await.header("allow").contains("GET"));
    let root = ask("GET", "/", BROWSER).await;
    assert_eq!((root.status, root.header("location")), (303, "http://127.0.0.1:1/docs"));
    daemon.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn documents_are_compressed_for_clients_that_accept_it() {
    let world = World::new(TestStore::directory());
    let daemon = world.start().await;
    for path in ["/docs", "/docs/log-in", "/docs.md", "/openapi.json", "/postman.json", "/llms.txt"] {
        let url = url::Url::parse(&format!("{}{path}", daemon.base)).unwrap();
        let plain = get_large(&url, &[]);
        assert_eq!((plain.header("content-encoding"), plain.header("vary")), ("", "accept-encoding"), "{path}");
        for refusing in ["identity", "gzip;q=0", "br"] {
            assert_eq!(get_large(&url, &[("accept-encoding", refusing)]).header("content-encoding"), "", "{refusing}");
        }
        let answer = get_bytes(&url, &[("accept-encoding", "gzip, deflate, br, zstd")]);
        assert_eq!(answer.headers()["content-encoding"], "gzip", "{path}");
        let (tag, packed) = (answer.headers()["etag"].clone(), answer.into_body());
        let mut text = String::new();
        flate2::read::GzDecoder::new(packed.as_slice()).read_to_string(&mut text).unwrap();
        assert_eq!(text, plain.text, "{path}");
        assert!(plain.text.len() < 4000 || packed.len() * 3 < text.len(), "{path}: {} {}", packed.len(), text.len());
        assert_ne!(tag, plain.header("etag"), "a cache must not mix the two");
        let request = http::Request::get(url.as_str()).header("accept-encoding", "gzip").header("if-none-match", tag);
        assert_eq!(daemon.send(request.body(Vec::new()).unwrap()).await.status, 304, "{path}");
    }
    daemon.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_search_finds_and_escapes_the_query() {
    let world = World::new(TestStore::directory());
    let daemon = world.start().await;
    let found = daemon.get("/docs/search?q=code_locked").await;
    assert_eq!(found.status, 200);
    assert!(found.text.contains("<a href=\"../docs#code_locked\">code_locked</a>"), "{}", found.text);
    let nothing = daemon.get("/docs/search?q=%3Cscript%3Ealert(1)%3C/script%3E%22").await;
    assert!(!nothing.text.contains("<script"), "{}", nothing.text);
    for query in ["", "?q=", "?q=%FF%FE", "?x=1", &format!("?q={}", "a".repeat(5000))] {
        let answer = daemon.get(&format!("/docs/search{query}")).await;
        assert_eq!(answer.status, 200, "{query:.20}");
        assert!(answer.text.len() < 60_000, "{query:.20}: {}", answer.text.len());
    }
    daemon.finish().await;
}
