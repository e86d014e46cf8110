//! The guides and the search of a running daemon.

use std::collections::{BTreeMap, BTreeSet};

use countersign::http::{guides::GUIDES, problem::Code};

use crate::{
    contract::get_large,
    daemon::{Answer, Daemon, TestStore, World},
};

/// Fetches a page of any size; the usual client stops before the end of the API reference.
fn page(daemon: &Daemon, path: &str) -> Answer {
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
        assert!(page.header("content-security-policy").starts_with("default-src 'none'; script-src 'none'; "));
        assert!(page.text.contains(&format!("<h1>{}</h1>", guide.title())), "{}", guide.slug);
        for link in between(&page.text, "href=\"") {
            let url = base.join(link).unwrap();
            if url.host_str() != Some("daemon") {
                assert!(url.scheme() == "https" || link.starts_with("data:"), "{}: {link}", guide.slug);
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
