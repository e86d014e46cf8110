//! The considerations of RFC 9700 that apply to this provider.

use serde_json::json;

use super::{
    OidcBrowser, PHONE, Returned, SECRET, SHOP, SPA, Server, VERIFIER, basic, challenge, encoded, issuer, message_on,
    request, sealed, world,
};
use crate::{
    browser::redeem,
    daemon::{META, META_TOKEN, TestStore, WAHA, World},
};

const BLOG: &str = "https://blog.example.org/in";

async fn with_server(test: impl AsyncFnOnce(&World, &crate::daemon::Daemon, Server)) {
    let world = world(TestStore::directory());
    let daemon = world.start().await;
    test(&world, &daemon, Server::of(&daemon)).await;
    daemon.finish().await;
}

/// 4.4, mix-up: every response, also an error, says which provider it comes from.
#[tokio::test(flavor = "multi_thread")]
async fn mix_up() {
    with_server(async |world, _, server| {
        let returned = OidcBrowser::new(&server).log_in(world, PHONE, &request(&[])).await;
        assert_eq!(returned.get("iss"), issuer());
        let error = Returned::from(&OidcBrowser::new(&server).authorize(&request(&[("scope", "phone")])).await);
        assert_eq!((error.get("error"), error.get("iss")), ("invalid_scope", issuer().as_str()));
        // A code of one issuer is worth nothing at another, although both have a client of this name and secret.
        let fields =
            encoded(&[("grant_type", "authorization_code"), ("code", returned.code()), ("redirect_uri", SHOP)]);
        let elsewhere = http::Request::post(format!("{}/oidc/{META}/token", server.base))
            .header("content-type", "application/x-www-form-urlencoded")
            .header("authorization", basic("shop", SECRET));
        let refused = server.try_send(elsewhere, fields.into_bytes()).await.unwrap();
        assert_eq!((refused.status, &refused.json["error"]), (400, &json!("invalid_grant")));
        let tokens = server.exchange(returned.code()).await;
        let token = tokens.json["access_token"].as_str().unwrap().to_owned();
        let elsewhere = http::Request::get(format!("{}/oidc/{META}/userinfo", server.base))
            .header("authorization", format!("Bearer {token}"));
        assert_eq!(server.try_send(elsewhere, Vec::new()).await.unwrap().status, 401);
        assert_eq!(server.user_info(&token).await.status, 200);
    })
    .await;
}

/// 4.5, code injection: a code works only for its client, its redirect URI and its verifier, and not in the API.
#[tokio::test(flavor = "multi_thread")]
async fn code_injection() {
    with_server(async |world, daemon, server| {
        let challenge = challenge(VERIFIER);
        let pkce = [("code_challenge", challenge.as_str()), ("code_challenge_method", "S256")];
        let returned = OidcBrowser::new(&server).log_in(world, PHONE, &request(&pkce)).await;
        let code = returned.code();
        let exchange = async |client: &str, uri: &str, verifier: &str| {
            let mut fields = vec![("grant_type", "authorization_code"), ("code", code), ("redirect_uri", uri)];
            fields.extend(Some(("code_verifier", verifier)).filter(|(_, verifier)| !verifier.is_empty()));
            let answer = server.try_post("token", Some(&basic(client, SECRET)), &fields).await.unwrap();
            (answer.status, answer.json["error"].as_str().unwrap_or_default().to_owned())
        };
        let refused = (400, "invalid_grant".to_owned());
        assert_eq!(exchange("blog", SHOP, VERIFIER).await, refused, "of another client");
        assert_eq!(exchange("shop", BLOG, VERIFIER).await, refused, "for another page");
        assert_eq!(exchange("shop", SHOP, "verifier-of-the-attacker-0123456789abcdefghi").await, refused);
        let by_api = redeem(daemon, json!({ "token": code })).await;
        assert_eq!(by_api.json["code"], "token_refused", "{}", by_api.text);
        let as_spa = [
            ("grant_type", "authorization_code"),
            ("code", code),
            ("redirect_uri", SHOP),
            ("client_id", "spa"),
            ("code_verifier", VERIFIER),
        ];
        assert_eq!(server.try_post("token", None, &as_spa).await.unwrap().json["error"], "invalid_grant");
        assert_eq!(exchange("shop", SHOP, VERIFIER).await.0, 200, "and still for the client itself");
    })
    .await;
}

/// 4.5.3.1 and the end of guessing: after five wrong exchanges the code is dead.
#[tokio::test(flavor = "multi_thread")]
async fn guesses_end() {
    with_server(async |world, _, server| {
        let challenge = challenge(VERIFIER);
        let pkce = [("code_challenge", challenge.as_str()), ("code_challenge_method", "S256")];
        let returned = OidcBrowser::new(&server).log_in(world, PHONE, &request(&pkce)).await;
        let exchange = async |verifier: &str| {
            let fields = [
                ("grant_type", "authorization_code"),
                ("code", returned.code()),
                ("redirect_uri", SHOP),
                ("code_verifier", verifier),
            ];
            server.try_post("token", Some(&basic("shop", SECRET)), &fields).await.unwrap().status
        };
        for _ in 0..5 {
            assert_eq!(exchange("wrong").await, 400);
        }
        assert_eq!(exchange(VERIFIER).await, 400);
    })
    .await;
}

/// 4.8, PKCE downgrade: a request without a challenge, by an attacker who removed it, takes no verifier; a public client
/// cannot go without, and `plain` is refused.
#[tokio::test(flavor = "multi_thread")]
async fn pkce_downgrade() {
    with_server(async |world, _, server| {
        let returned = OidcBrowser::new(&server).log_in(world, PHONE, &request(&[])).await;
        let fields = [
            ("grant_type", "authorization_code"),
            ("code", returned.code()),
            ("redirect_uri", SHOP),
            ("code_verifier", VERIFIER),
        ];
        let refused = server.try_post("token", Some(&basic("shop", SECRET)), &fields).await.unwrap();
        assert_eq!((refused.status, &refused.json["error"]), (400, &json!("invalid_grant")));
        let spa = [("client_id", "spa"), ("redirect_uri", SPA)];
        let plain = [("code_challenge", VERIFIER), ("code_challenge_method", "plain")];
        for changes in [&spa[..], &[&spa[..], &plain].concat(), &plain] {
            let returned = Returned::from(&OidcBrowser::new(&server).authorize(&request(changes)).await);
            assert_eq!(returned.get("error"), "invalid_request", "{changes:?}");
        }
    })
    .await;
}

/// 4.11, open redirector: nothing in a request makes this host redirect to an address that no client registered.
#[tokio::test(flavor = "multi_thread")]
async fn open_redirector() {
    with_server(async |_, _, server| {
        for uri in [
            "https://evil.example/in",
            "https://shop.example.org.evil.example/in",
            "https://shop.example.org@evil.example/in",
            "https://shop.example.org/in@evil.example",
            "https://shop.example.org/in/../out",
            "https://shop.example.org/in%2f..",
            "https://SHOP.example.org/in",
            "https://shop.example.org:443/in",
            "http://shop.example.org/in",
            "//shop.example.org/in",
            "https://shop.example.org/in?x=1",
            "https://shop.example.org/in#x",
            " https://shop.example.org/in",
            "javascript:alert(1)",
        ] {
            for changes in [&[("redirect_uri", uri)][..], &[("redirect_uri", uri), ("prompt", "none")]] {
                let page = OidcBrowser::new(&server).authorize(&request(changes)).await;
                assert_eq!((page.status, page.headers.get("location")), (400, None), "{uri}");
                assert!(!page.text.contains("evil"), "nothing of it is shown: {}", page.text);
            }
            let mut two = request(&[]);
            two.push(("redirect_uri", uri));
            assert_eq!(OidcBrowser::new(&server).authorize(&two).await.status, 400, "{uri} as well");
            let posted =
                OidcBrowser::new(&server).submit(&Server::path("authorize"), &request(&[("redirect_uri", uri)])).await;
            assert_eq!((posted.status, posted.headers.get("location")), (400, None), "{uri}");
        }
    })
    .await;
}

/// 4.2 and 4.16: no page leaks its URL to another site, is framed, cached or run by foreign scripts.
#[tokio::test(flavor = "multi_thread")]
async fn referrer_and_clickjacking() {
    with_server(async |world, _, server| {
        let mut browser = OidcBrowser::new(&server);
        let returned = browser.log_in(world, PHONE, &request(&[("response_mode", "form_post")])).await;
        let response = format!("{}?{}", returned.to.path(), returned.to.query().unwrap());
        let start = browser.begin(&request(&[])).await;
        let posted = browser.submit(&Server::path("authorize"), &request(&[])).await;
        let continued = posted.header("location").split_once(":1").unwrap().1.to_owned();
        for path in [
            format!("{}?{}", Server::path("authorize"), encoded(&request(&[]))),
            format!("{}?{}", Server::path("authorize"), encoded(&request(&[("client_id", "none")]))),
            continued,
            response,
            start,
        ] {
            let page = browser.look(&path).await;
            let policy = page.header("content-security-policy");
            assert!(
                policy.contains("default-src 'none'") && policy.contains("frame-ancestors 'none'"),
                "{path}: {policy}"
            );
            assert_eq!(page.header("referrer-policy"), "same-origin", "{path}");
            assert_eq!(page.header("cache-control"), "no-store", "{path}");
            assert_eq!(page.header("x-content-type-options"), "nosniff", "{path}");
            assert!(!page.text.contains("<script>") || policy.contains("script-src 'sha256-"), "{path}");
        }
    })
    .await;
}

/// 4.7, CSRF: a page works only in the browser that it was given to, and only its own form reaches it.
#[tokio::test(flavor = "multi_thread")]
async fn cross_site_request_forgery() {
    with_server(async |_, daemon, server| {
        let (mut victim, mut attacker) = (OidcBrowser::new(&server), OidcBrowser::new(&server));
        let of_attacker = sealed(&attacker.authorize(&request(&[])).await.text);
        victim.authorize(&request(&[])).await;
        let refused = victim.submit(&Server::path("continue"), &[("request", &of_attacker)]).await;
        assert_eq!((refused.status, refused.headers.get("location")), (422, None), "the page of another browser");
        let declined = victim.submit(&Server::path("continue"), &[("request", &of_attacker), ("do", "cancel")]).await;
        assert_eq!(declined.headers.get("location"), None);
        for broken in ["", "x", &of_attacker[1..], &format!("{of_attacker}A")] {
            let refused = attacker.submit(&Server::path("continue"), &[("request", broken)]).await;
            assert_eq!((refused.status, refused.headers.get("location")), (410, None), "{broken}");
        }
        // What was posted is for no browser yet, and is no page.
        let posted = attacker.submit(&Server::path("authorize"), &request(&[])).await;
        let unbound = posted.header("location").split_once("request=").unwrap().1.to_owned();
        let refused = attacker.submit(&Server::path("continue"), &[("request", &unbound)]).await;
        assert_eq!((refused.status, refused.headers.get("location")), (422, None));
        // Nor is a page's request one that was posted: the page that it opened would be the opener's own.
        let opened = victim.look(&format!("{}?request={of_attacker}", Server::path("continue"))).await;
        assert_eq!(opened.status, 400, "{}", opened.text);
        let cross_site = http::Request::post(format!("{}{}", server.base, Server::path("continue")))
            .header("content-type", "application/x-www-form-urlencoded")
            .header("origin", "https://evil.example")
            .header("cookie", attacker.cookie.clone().unwrap());
        let body = encoded(&[("request", &of_attacker)]).into_bytes();
        assert_eq!(server.try_send(cross_site, body).await.unwrap().status, 403);
        let requests = daemon.get(&format!("/api/otp/v2/{WAHA}/requests")).await;
        assert_eq!(requests.data("requests"), &json!([]), "none of these created anything");
        let elsewhere = format!("/oidc/{META}/continue");
        assert_eq!(attacker.submit(&elsewhere, &[("request", &of_attacker)]).await.status, 410, "of another issuer");
        assert_eq!(attacker.submit(&Server::path("continue"), &[("request", &of_attacker)]).await.status, 303);
    })
    .await;
}

/// Another instance's API token, and this one's, learn no more of a login than before.
#[tokio::test(flavor = "multi_thread")]
async fn other_parties_learn_nothing() {
    with_server(async |world, daemon, server| {
        let mut browser = OidcBrowser::new(&server);
        let start = browser.begin(&request(&[("nonce", "secret-nonce"), ("state", "secret-state")])).await;
        let listed = daemon.get(&format!("/api/otp/v2/{WAHA}/requests")).await.text;
        for secret in ["secret-nonce", "secret-state", SHOP] {
            assert!(!listed.contains(secret), "{secret}: {listed}");
        }
        let other = daemon.get_as(META_TOKEN, &format!("/api/otp/v2/{META}/requests")).await;
        assert_eq!(other.data("requests"), &json!([]));
        let picture = OidcBrowser::new(&server).look(&format!("{start}/qr.svg")).await;
        assert_eq!(picture.status, 404, "the QR code is only in the page of the browser");
        let away = OidcBrowser::new(&server).look(&format!("{start}/go")).await;
        assert_eq!(away.header("location"), format!("{}{start}", world.public_url));
        assert!(message_on(&browser.look(&start).await.text).contains('['));
        assert_eq!(server.get("jwks").await.status, 200);
        for unknown in ["5f0c2a90-0000-4000-8000-00000000000f", "x", "%2e%2e"] {
            for tail in [".well-known/openid-configuration", "jwks", "authorize", "userinfo"] {
                let answer = OidcBrowser::new(&server).look(&format!("/oidc/{unknown}/{tail}")).await;
                assert_eq!(answer.status, 404, "{unknown} {tail}");
            }
        }
    })
    .await;
}

/// Wrong secrets and access tokens of one address are bounded, and do not lock out the client elsewhere.
#[tokio::test(flavor = "multi_thread")]
async fn guessing_secrets_is_limited_by_address() {
    let mut world = world(TestStore::directory());
    world.top_level_lines = format!(
        "trusted_proxies = [\"127.0.0.0/8\"]\n{}\n[limits]\nwrong_tokens_per_minute = 5\n",
        world.top_level_lines
    );
    let daemon = world.start().await;
    let server = Server::of(&daemon);
    let fields = encoded(&[("grant_type", "authorization_code"), ("code", "x"), ("redirect_uri", SHOP)]);
    let guess = async |from: &str, secret: &str| {
        let request = http::Request::post(format!("{}{}", server.base, Server::path("token")))
            .header("content-type", "application/x-www-form-urlencoded")
            .header("x-forwarded-for", from)
            .header("authorization", basic("shop", secret));
        server.try_send(request, fields.clone().into_bytes()).await.unwrap()
    };
    for _ in 0..5 {
        assert_eq!(guess("203.0.113.1", "wrong").await.status, 401);
    }
    let limited = guess("203.0.113.1", "wrong").await;
    assert_eq!((limited.status, &limited.json["error"]), (429, &json!("temporarily_unavailable")));
    assert!(!limited.header("retry-after").is_empty());
    assert_eq!(guess("203.0.113.1", SECRET).await.json["error"], "invalid_grant", "its own client still works");
    assert_eq!(guess("203.0.113.2", "wrong").await.status, 401);
    daemon.finish().await;
}

/// The links of one client are limited by themselves, and the taps of one address by theirs: neither stops another
/// client or another address.
#[tokio::test(flavor = "multi_thread")]
async fn logins_are_limited_by_client_and_by_address() {
    let mut world = world(TestStore::directory());
    world.top_level_lines =
        format!("trusted_proxies = [\"127.0.0.0/8\"]\n{}\n[limits]\ntaps_per_minute = 2\n", world.top_level_lines);
    world.instance_lines.push_str("[instance.limits]\nmint_per_second = 1\nmint_burst = 3\n");
    let daemon = world.start().await;
    let server = Server::of(&daemon);
    let tap = async |from: &str, client: &str, uri: &str| {
        let mut browser = OidcBrowser::new(&server);
        let page = browser.authorize(&request(&[("client_id", client), ("redirect_uri", uri)])).await;
        let body = encoded(&[("request", &sealed(&page.text))]).into_bytes();
        let tapped = http::Request::post(format!("{}{}", server.base, Server::path("continue")))
            .header("content-type", "application/x-www-form-urlencoded")
            .header("sec-fetch-site", "same-origin")
            .header("x-forwarded-for", from);
        browser.send(tapped, body).await.unwrap()
    };
    // Far more than the burst at once, from several addresses, so that only the client's limit can stop them.
    let addresses: Vec<String> = (0..40).map(|number| format!("203.0.113.{number}")).collect();
    let taps = futures_util::future::join_all(addresses.iter().map(|from| tap(from, "shop", SHOP))).await;
    let refused = taps.iter().find(|tapped| tapped.status != 303).expect("one client alone is limited");
    assert_eq!(refused.status, 429, "{}", refused.text);
    assert!(!refused.header("retry-after").is_empty() && refused.header("ratelimit-policy").contains("\"mint\""));
    assert_eq!(tap("203.0.113.60", "blog", BLOG).await.status, 303, "another client goes on");

    // An address that taps too often is stopped before its client's limit is reached.
    for _ in 0..2 {
        assert_eq!(tap("203.0.113.70", "bank", "https://bank.example.org/in").await.status, 303);
    }
    let refused = tap("203.0.113.70", "bank", "https://bank.example.org/in").await;
    assert_eq!(refused.status, 429, "{}", refused.text);
    assert!(
        refused.header("ratelimit").contains("\"taps\";r=0") && !refused.header("ratelimit-policy").contains("mint")
    );
    assert_eq!(tap("203.0.113.71", "bank", "https://bank.example.org/in").await.status, 303, "another address goes on");
    daemon.finish().await;
}

/// A page that was left open begins nothing after half an hour.
#[tokio::test(flavor = "multi_thread")]
async fn an_old_page_is_refused() {
    with_server(async |_, daemon, server| {
        let mut browser = OidcBrowser::new(&server);
        let first = sealed(&browser.authorize(&request(&[])).await.text);
        let second = sealed(&browser.authorize(&request(&[])).await.text);
        daemon.advance_clock(std::time::Duration::from_mins(29)).await;
        assert_eq!(browser.submit(&Server::path("continue"), &[("request", &first)]).await.status, 303);
        daemon.advance_clock(std::time::Duration::from_mins(1)).await;
        let refused = browser.submit(&Server::path("continue"), &[("request", &second)]).await;
        assert_eq!((refused.status, refused.headers.get("location")), (410, None));
    })
    .await;
}
