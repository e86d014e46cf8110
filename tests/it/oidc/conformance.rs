//! The modules of the OpenID Foundation's conformance suite (plans *Basic*, *Config* and *Form Post* of 20 August 2026)
//! that need no session, refresh token or logout, each as a test of its name. Those that do are not implemented:
//! `oidcc-prompt-none-logged-in`, `oidcc-refresh-token`, and the plans for logout.

use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use countersign::hash::sha256;
use http::Request;
use serde_json::{Value, json};

use super::{
    OidcBrowser, PHONE, Returned, SECRET, SHOP, SPA, Server, VERIFIER, basic, challenge, encoded, issuer, request,
    sealed, verified, world,
};
use crate::{
    daemon::{TestStore, World},
    login_flow::on_both_stores,
};

on_both_stores! {
    oidcc_server
    oidcc_codereuse
}

async fn with_server(test: impl AsyncFnOnce(World, Server)) {
    let world = world(TestStore::directory());
    let daemon = world.start().await;
    test(world, Server::of(&daemon)).await;
    daemon.finish().await;
}

/// The error that the client gets.
async fn returned_error(server: &Server, changes: &[(&str, &str)]) -> String {
    let returned = Returned::from(&OidcBrowser::new(server).authorize(&request(changes)).await);
    assert!(returned.to.as_str().starts_with(SHOP), "{}", returned.to);
    assert_eq!((returned.get("state"), returned.get("iss")), ("st 1", issuer().as_str()));
    assert!(!returned.parameters.contains_key("code"));
    returned.get("error").to_owned()
}

/// Logs in with this request, and returns what the client gets and reads: the token response, the ID token's claims and
/// the answer of userinfo.
async fn whole(world: &World, server: &Server, changes: &[(&str, &str)]) -> (Value, Value, Value) {
    let returned = OidcBrowser::new(server).log_in(world, PHONE, &request(changes)).await;
    let tokens = server.exchange(returned.code()).await;
    assert_eq!(tokens.status, 200, "{}", tokens.text);
    let (_, claims) = verified(server, tokens.json["id_token"].as_str().unwrap()).await;
    let info = server.user_info(tokens.json["access_token"].as_str().unwrap()).await;
    assert_eq!(info.status, 200, "{}", info.text);
    assert_eq!(info.json["sub"], claims["sub"]);
    (tokens.json, claims, info.json)
}

#[tokio::test(flavor = "multi_thread")]
async fn oidcc_discovery_endpoint_verification() {
    with_server(async |_, server| {
        let answer = server.get(".well-known/openid-configuration").await;
        assert_eq!((answer.status, answer.header("content-type")), (200, "application/json"));
        let metadata = answer.json;
        assert_eq!(metadata["issuer"], issuer());
        for (name, tail) in [
            ("authorization_endpoint", "authorize"),
            ("token_endpoint", "token"),
            ("userinfo_endpoint", "userinfo"),
            ("jwks_uri", "jwks"),
        ] {
            assert_eq!(metadata[name], format!("{}/{tail}", issuer()));
        }
        for (name, value) in [
            ("response_types_supported", json!(["code"])),
            ("response_modes_supported", json!(["query", "form_post"])),
            ("grant_types_supported", json!(["authorization_code"])),
            ("subject_types_supported", json!(["pairwise", "public"])),
            ("id_token_signing_alg_values_supported", json!(["RS256", "ES256"])),
            ("token_endpoint_auth_methods_supported", json!(["client_secret_basic", "client_secret_post", "none"])),
            ("code_challenge_methods_supported", json!(["S256"])),
            ("scopes_supported", json!(["openid", "phone", "profile"])),
            ("claims_parameter_supported", json!(false)),
            ("request_parameter_supported", json!(false)),
            ("request_uri_parameter_supported", json!(false)),
            ("authorization_response_iss_parameter_supported", json!(true)),
        ] {
            assert_eq!(metadata[name], value, "{name}");
        }
        let keys = server.get("jwks").await;
        assert_eq!(keys.header("cache-control"), "public, max-age=600");
        let keys = keys.json["keys"].as_array().unwrap().clone();
        assert_eq!(keys.iter().map(|key| &key["alg"]).collect::<Vec<_>>(), ["RS256", "ES256"]);
        assert!(keys.iter().all(|key| key["use"] == "sig" && key["kid"].is_string() && key.get("d").is_none()));
    })
    .await;
}

async fn oidcc_server(ground: TestStore) {
    let world = world(ground);
    let daemon = world.start().await;
    let server = Server::of(&daemon);
    let returned = OidcBrowser::new(&server).log_in(&world, PHONE, &request(&[])).await;
    assert_eq!(returned.to.as_str().split('?').next(), Some(SHOP));
    assert_eq!(returned.parameters.len(), 3, "{}", returned.to);
    assert_eq!((returned.get("state"), returned.get("iss")), ("st 1", issuer().as_str()));

    let answer = server.exchange(returned.code()).await;
    assert_eq!(answer.status, 200, "{}", answer.text);
    assert_eq!((answer.header("cache-control"), answer.header("pragma")), ("no-store", "no-cache"));
    assert_eq!(answer.header("content-type"), "application/json");
    let tokens = answer.json;
    assert_eq!((&tokens["token_type"], &tokens["scope"]), (&json!("Bearer"), &json!("openid phone profile")));
    assert!((3500..=3600).contains(&tokens["expires_in"].as_i64().unwrap()), "{tokens}");
    let access_token = tokens["access_token"].as_str().unwrap();

    let (header, claims) = verified(&server, tokens["id_token"].as_str().unwrap()).await;
    assert_eq!(header["alg"], "RS256");
    assert_eq!((&claims["iss"], &claims["aud"]), (&json!(issuer()), &json!("shop")));
    assert_eq!((&claims["nonce"], &claims["amr"]), (&json!("n-0S6_WzA2Mj"), &json!(["mca"])));
    let (issued, now) = (claims["iat"].as_i64().unwrap(), daemon.clock.wall().as_second());
    assert!((now - 60..=now).contains(&issued) && claims["exp"] == issued + 3600, "{claims}");
    assert!((issued - 60..=issued).contains(&claims["auth_time"].as_i64().unwrap()), "{claims}");
    let half = URL_SAFE_NO_PAD.encode(&sha256(access_token.as_bytes())[..16]);
    assert_eq!(claims["at_hash"], half);
    let names: Vec<&String> = claims.as_object().unwrap().keys().collect();
    assert_eq!(names, ["amr", "at_hash", "aud", "auth_time", "exp", "iat", "iss", "nonce", "sub"]);

    let info = server.user_info(access_token).await;
    assert_eq!((info.status, info.header("cache-control")), (200, "no-store"));
    let expected = json!({
        "sub": claims["sub"], "name": "Mara", "phone_number": "+447700900123", "phone_number_verified": true,
    });
    assert_eq!(info.json, expected);
    daemon.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn oidcc_server_client_secret_post() {
    with_server(async |world, server| {
        let code = OidcBrowser::new(&server).log_in(&world, PHONE, &request(&[])).await.code().to_owned();
        let mut fields = vec![("grant_type", "authorization_code"), ("code", &code), ("redirect_uri", SHOP)];
        fields.extend([("client_id", "shop"), ("client_secret", "wrong")]);
        let refused = server.try_post("token", None, &fields).await.unwrap();
        assert_eq!((refused.status, &refused.json["error"]), (401, &json!("invalid_client")));
        assert_eq!(refused.header("www-authenticate"), "Basic realm=\"token\"");
        fields.pop();
        fields.push(("client_secret", SECRET));
        let answer = server.try_post("token", None, &fields).await.unwrap();
        assert_eq!(answer.status, 200, "{}", answer.text);
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn oidcc_response_type_missing() {
    with_server(async |_, server| {
        assert_eq!(returned_error(&server, &[("response_type", "")]).await, "invalid_request");
        assert_eq!(returned_error(&server, &[("response_type", "id_token")]).await, "unsupported_response_type");
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn oidcc_idtoken_signature() {
    with_server(async |world, server| {
        let pkce = [
            ("client_id", "spa"),
            ("redirect_uri", SPA),
            ("code_challenge", &challenge(VERIFIER)),
            ("code_challenge_method", "S256"),
        ];
        let returned = OidcBrowser::new(&server).log_in(&world, PHONE, &request(&pkce)).await;
        let fields = [
            ("grant_type", "authorization_code"),
            ("code", returned.code()),
            ("redirect_uri", SPA),
            ("client_id", "spa"),
            ("code_verifier", VERIFIER),
        ];
        let answer = server.try_post("token", None, &fields).await.unwrap();
        assert_eq!(answer.status, 200, "{}", answer.text);
        let (header, _) = verified(&server, answer.json["id_token"].as_str().unwrap()).await;
        assert_eq!(header["alg"], "ES256", "as the client is configured");
        assert_eq!(answer.json["scope"], "openid", "no more than the client may ask for");
        let info = server.user_info(answer.json["access_token"].as_str().unwrap()).await.json;
        assert_eq!(info.as_object().unwrap().len(), 1, "{info}");
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn oidcc_userinfo_get_post_header_post_body() {
    with_server(async |world, server| {
        let (tokens, claims, _) = whole(&world, &server, &[]).await;
        let token = tokens["access_token"].as_str().unwrap();
        let by_header = server.try_post("userinfo", Some(&format!("Bearer {token}")), &[]).await.unwrap();
        let by_body = server.try_post("userinfo", None, &[("access_token", token)]).await.unwrap();
        for answer in [by_header, by_body] {
            assert_eq!((answer.status, &answer.json["sub"]), (200, &claims["sub"]), "{}", answer.text);
        }
        let twice = server.try_post("userinfo", Some(&format!("Bearer {token}")), &[("access_token", token)]).await;
        assert_eq!(twice.unwrap().status, 400);
        let in_query = server.get(&format!("userinfo?access_token={token}")).await;
        assert_eq!((in_query.status, in_query.header("www-authenticate")), (401, "Bearer"));
        let last = if token.ends_with('A') { 'B' } else { 'A' };
        let forged = format!("{}{last}", &token[..token.len() - 1]);
        let refused = server.user_info(&forged).await;
        assert_eq!(refused.status, 401);
        assert!(refused.header("www-authenticate").starts_with("Bearer error=\"invalid_token\""));
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn oidcc_ensure_request_without_nonce_succeeds_for_code_flow() {
    with_server(async |world, server| {
        let (_, claims, _) = whole(&world, &server, &[("nonce", "")]).await;
        assert!(claims.get("nonce").is_none(), "{claims}");
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn oidcc_scope_profile_email_address_phone_all() {
    with_server(async |world, server| {
        for (scope, granted, names) in [
            ("openid profile", "openid profile", &["name", "sub"][..]),
            ("openid email", "openid", &["sub"]),
            ("openid address", "openid", &["sub"]),
            ("openid phone", "openid phone", &["phone_number", "phone_number_verified", "sub"]),
            (
                "openid profile email address phone",
                "openid phone profile",
                &["name", "phone_number", "phone_number_verified", "sub"],
            ),
        ] {
            let (tokens, _, info) = whole(&world, &server, &[("scope", scope)]).await;
            assert_eq!(tokens["scope"], granted, "{scope}");
            assert_eq!(info.as_object().unwrap().keys().collect::<Vec<_>>(), names, "{scope}");
        }
    })
    .await;
}

/// Also `-display-popup`, `-claims-locales`, `-login-hint`, `-ensure-request-with-acr-values-succeeds`,
/// `-ensure-request-with-unknown-parameter-succeeds`, `-claims-essential`, `-max-age-1`, `-max-age-10000`,
/// `-prompt-login` and `-id-token-hint`.
#[tokio::test(flavor = "multi_thread")]
async fn oidcc_display_page_and_other_advice() {
    with_server(async |world, server| {
        let (_, first, _) = whole(&world, &server, &[]).await;
        for changes in [
            &[("display", "page")][..],
            &[("display", "popup")],
            &[("claims_locales", "se")],
            &[("login_hint", "buffy")],
            &[("acr_values", "1 2")],
            &[("extra", "foobar")],
            &[("claims", r#"{"userinfo":{"name":{"essential":true}}}"#)],
            &[("max_age", "1")],
            &[("max_age", "10000"), ("prompt", "login consent")],
            &[("id_token_hint", "e30.e30.e30")],
        ] {
            let (_, claims, info) = whole(&world, &server, changes).await;
            assert_eq!(claims["sub"], first["sub"], "{changes:?}");
            assert!(claims["auth_time"].as_i64() >= first["auth_time"].as_i64(), "{changes:?}");
            assert!(claims.get("acr").is_none(), "{changes:?}");
            assert_eq!(info["name"], "Mara", "{changes:?}");
        }
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn oidcc_ui_locales() {
    with_server(async |_, server| {
        let page = OidcBrowser::new(&server).authorize(&request(&[("ui_locales", "tlh de-AT")])).await.text;
        assert!(page.contains("<html lang=\"de\"") && page.contains("Weiter zu Shop?"), "{page}");
        let page = OidcBrowser::new(&server).authorize(&request(&[("ui_locales", "ur en")])).await.text;
        assert!(page.contains("<html lang=\"ur\" dir=\"rtl\""), "{page}");
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn oidcc_prompt_none_not_logged_in() {
    with_server(async |world, server| {
        assert_eq!(returned_error(&server, &[("prompt", "none")]).await, "login_required");
        assert_eq!(returned_error(&server, &[("prompt", "none login")]).await, "invalid_request");
        assert_eq!(world.gateway.count(), 0, "no message is sent");
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn oidcc_alternate_happy_flow() {
    with_server(async |world, server| {
        let mut parameters = request(&[("scope", "profile phone openid")]);
        parameters.reverse();
        let returned = OidcBrowser::new(&server).log_in(&world, PHONE, &parameters).await;
        assert_eq!(server.exchange(returned.code()).await.status, 200);
        let exact = [("redirect_uri", "https://shop.example.org/in?tenant=1")];
        let returned = OidcBrowser::new(&server).log_in(&world, PHONE, &request(&exact)).await;
        assert_eq!(returned.get("tenant"), "1", "the query of the redirect URI stays");
        let fields = [("grant_type", "authorization_code"), ("code", returned.code()), exact[0]];
        let answer = server.try_post("token", Some(&basic("shop", SECRET)), &fields).await.unwrap();
        assert_eq!(answer.status, 200, "{}", answer.text);
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn oidcc_ensure_post_request_succeeds() {
    with_server(async |_, server| {
        let mut browser = OidcBrowser::new(&server);
        browser.look(&format!("{}?{}", Server::path("authorize"), encoded(&request(&[])))).await;
        let cookie = browser.cookie.take().expect("a page has given a cookie");
        // As a browser sends a form of another site: without our cookie.
        let posted = browser.submit(&Server::path("authorize"), &request(&[])).await;
        assert_eq!((posted.status, posted.headers.get("set-cookie")), (303, None), "the cookie is not replaced");
        let url = url::Url::parse(posted.header("location")).unwrap();
        assert_eq!(url.path(), Server::path("continue"));
        browser.cookie = Some(cookie.clone());
        let page = browser.look(&format!("{}?{}", url.path(), url.query().unwrap())).await;
        assert_eq!((page.status, page.headers.get("set-cookie")), (200, None), "{}", page.text);
        let start = browser.agree(&page.text).await;
        assert_eq!(browser.look(&start).await.status, 200);
        assert_eq!(browser.cookie, Some(cookie));
        let posted = browser.submit(&Server::path("authorize"), &request(&[("prompt", "none")])).await;
        assert_eq!(Returned::from(&posted).get("error"), "login_required");
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn oidcc_ensure_registered_redirect_uri() {
    with_server(async |_, server| {
        for uri in ["https://shop.example.org/out", "https://shop.example.org/in/", "https://evil.example/", ""] {
            let page = OidcBrowser::new(&server).authorize(&request(&[("redirect_uri", uri)])).await;
            assert_eq!((page.status, page.headers.get("location")), (400, None), "{uri}");
            assert!(page.text.contains("invalid_request: redirect_uri"), "{}", page.text);
            assert!(page.headers.get("set-cookie").is_none());
        }
        let page = OidcBrowser::new(&server).authorize(&request(&[("client_id", "none")])).await;
        assert_eq!((page.status, page.headers.get("location")), (400, None));
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn oidcc_request_uri_unsigned_and_unsigned_request_object() {
    with_server(async |_, server| {
        assert_eq!(returned_error(&server, &[("request", "eyJhbGciOiJub25lIn0.e30.")]).await, "request_not_supported");
        let by_reference = [("request_uri", "https://shop.example.org/request.jwt")];
        assert_eq!(returned_error(&server, &by_reference).await, "request_uri_not_supported");
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn oidcc_ensure_request_with_valid_pkce_succeeds() {
    with_server(async |world, server| {
        let challenge = challenge(VERIFIER);
        let pkce = [("code_challenge", challenge.as_str()), ("code_challenge_method", "S256")];
        let returned = OidcBrowser::new(&server).log_in(&world, PHONE, &request(&pkce)).await;
        let exchange = async |verifier: Option<&str>| {
            let mut fields =
                vec![("grant_type", "authorization_code"), ("code", returned.code()), ("redirect_uri", SHOP)];
            fields.extend(verifier.map(|verifier| ("code_verifier", verifier)));
            server.try_post("token", Some(&basic("shop", SECRET)), &fields).await.unwrap()
        };
        for wrong in [None, Some("wrong"), Some(challenge.as_str())] {
            let refused = exchange(wrong).await;
            assert_eq!((refused.status, &refused.json["error"]), (400, &json!("invalid_grant")), "{wrong:?}");
        }
        assert_eq!(exchange(Some(VERIFIER)).await.status, 200);
    })
    .await;
}

/// Also `-codereuse-30seconds`: the time between does not matter.
async fn oidcc_codereuse(ground: TestStore) {
    let world = world(ground);
    let daemon = world.start().await;
    let server = Server::of(&daemon);
    for pause in [0, 30] {
        let returned = OidcBrowser::new(&server).log_in(&world, PHONE, &request(&[])).await;
        let tokens = server.exchange(returned.code()).await.json;
        let token = tokens["access_token"].as_str().unwrap();
        assert_eq!(server.user_info(token).await.status, 200);
        daemon.advance_clock(std::time::Duration::from_secs(pause)).await;
        for _ in 0..2 {
            let again = server.exchange(returned.code()).await;
            assert_eq!((again.status, &again.json["error"]), (400, &json!("invalid_grant")), "{pause}");
            assert_eq!(server.user_info(token).await.status, 401, "what the first use gave is revoked");
        }
    }
    daemon.finish().await;
}

/// The plan for `form_post`: the response is a page that posts itself.
#[tokio::test(flavor = "multi_thread")]
async fn oidcc_form_post() {
    with_server(async |world, server| {
        let mode = ("response_mode", "form_post");
        let mut browser = OidcBrowser::new(&server);
        let returned = browser.log_in(&world, PHONE, &request(&[mode])).await;
        assert_eq!(returned.to.path(), Server::path("response"));
        let path = format!("{}?{}", returned.to.path(), returned.to.query().unwrap());
        let page = browser.look(&path).await;
        assert_eq!(page.status, 200, "{}", page.text);
        assert!(page.text.contains(&format!("<form method=\"post\" action=\"{SHOP}\"")), "{}", page.text);
        for (name, value) in [("code", returned.code()), ("state", "st 1"), ("iss", &issuer())] {
            assert!(page.text.contains(&format!("name=\"{name}\" value=\"{value}\"")), "{name}: {}", page.text);
        }
        let policy = page.header("content-security-policy");
        assert!(policy.contains("script-src 'sha256-") && policy.contains("https://shop.example.org"), "{policy}");
        let other = OidcBrowser::new(&server).look(&path).await;
        assert_eq!(other.status, 410, "only the browser of the login gets the code");
        assert_eq!(server.exchange(returned.code()).await.status, 200);
        assert_eq!(browser.look(&path).await.status, 410);

        let error = OidcBrowser::new(&server).authorize(&request(&[mode, ("prompt", "none")])).await;
        assert_eq!((error.status, error.headers.get("location")), (200, None));
        assert!(error.text.contains("name=\"error\" value=\"login_required\""), "{}", error.text);
    })
    .await;
}

/// Not of the suite: what the metadata does not list is refused.
#[tokio::test(flavor = "multi_thread")]
async fn other_grants_and_methods_are_refused() {
    with_server(async |_, server| {
        let by_basic = basic("shop", SECRET);
        for (grant, error) in [
            ("refresh_token", "unsupported_grant_type"),
            ("client_credentials", "unsupported_grant_type"),
            ("password", "unsupported_grant_type"),
            ("", "invalid_request"),
        ] {
            let answer =
                server.try_post("token", Some(&by_basic), &[("grant_type", grant), ("code", "x")]).await.unwrap();
            assert_eq!((answer.status, &answer.json["error"]), (400, &json!(error)), "{grant}");
        }
        assert_eq!(server.get("token").await.status, 405);
        let preflight = Request::options(format!("{}{}", server.base, Server::path("token")));
        let answer = server.try_send(preflight, Vec::new()).await.unwrap();
        assert_eq!((answer.status, answer.header("access-control-allow-origin")), (204, "*"));
        let page = OidcBrowser::new(&server).authorize(&request(&[])).await;
        assert!(page.headers.get("access-control-allow-origin").is_none(), "no other site reads the page");
        assert!(!sealed(&page.text).is_empty());
    })
    .await;
}
