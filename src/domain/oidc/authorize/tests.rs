//! Authorization requests: which are accepted, and to whom an error is returned.

use super::*;
use crate::domain::oidc::{Algorithm, SubjectType};

const URI: &str = "https://app.example.org/in";
const CHALLENGE: &str = "E9Melhoa2OwvFrEMTJguCHaoeK1t8URWbuGJSstw-cM";

fn client(id: &str) -> Client {
    Client {
        id: id.to_owned(),
        name: None,
        secrets: vec![[1; 32]],
        redirect_uris: vec![URI.to_owned(), "https://app.example.org/in?tenant=1".to_owned()],
        scopes: ClaimScopes { phone: true, profile: false },
        subject: SubjectType::Pairwise,
        sector: "app.example.org".to_owned(),
        login_hint: false,
        allow_hidden: false,
        algorithm: Algorithm::Rs256,
        purpose: None,
    }
}

fn clients() -> [Client; 3] {
    let public = Client { secrets: Vec::new(), ..client("public") };
    let hinting = Client { login_hint: true, ..client("hinting") };
    [client("shop"), public, hinting]
}

const PLAIN: &[(&str, &str)] =
    &[("response_type", "code"), ("client_id", "shop"), ("redirect_uri", URI), ("scope", "openid"), ("state", "s")];

/// The plain request with these parameters replaced; an empty value removes one.
fn with(changes: &[(&str, &str)]) -> Result<Accepted, Refused> {
    let kept = PLAIN.iter().filter(|(name, _)| changes.iter().all(|(other, _)| other != name));
    let pairs = kept.chain(changes).map(|(name, value)| ((*name).to_owned(), (*value).to_owned()));
    authorize(&pairs.collect(), &clients())
}

/// The error that the client gets.
fn returned(changes: &[(&str, &str)]) -> ErrorCode {
    match with(changes) {
        Err(Refused::Returned(to, error)) => {
            assert_eq!(to.redirect_uri, URI, "{changes:?}");
            error.code
        }
        other => panic!("{changes:?}: {other:?}"),
    }
}

#[test]
fn the_plain_request_is_accepted() {
    let Accepted { authorization, chat, language } = with(&[]).unwrap();
    assert_eq!(authorization.client, "shop");
    assert_eq!(
        authorization.to,
        ReturnAddress { redirect_uri: URI.to_owned(), mode: ResponseMode::Query, state: Some("s".to_owned()) }
    );
    assert_eq!((authorization.scopes, authorization.nonce), (ClaimScopes::default(), None));
    assert_eq!((authorization.challenge, chat), (None, None));
    assert!(language.is_none() && !authorization.allow_hidden);
    let open = [Client { allow_hidden: true, ..client("shop") }];
    let pairs = PLAIN.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned()));
    assert!(authorize(&pairs.collect(), &open).unwrap().authorization.allow_hidden, "as the client is configured");
}

#[test]
fn nothing_is_returned_to_an_unproved_address() {
    for changes in [
        &[("client_id", "")][..],
        &[("client_id", "none")],
        &[("client_id", "shop"), ("client_id", "shop")],
        &[("redirect_uri", "")],
        &[("redirect_uri", "https://app.example.org/in/")],
        &[("redirect_uri", "https://app.example.org/IN")],
        &[("redirect_uri", "https://app.example.org/in?tenant=2")],
        &[("redirect_uri", "https://app.example.org/in#x")],
        &[("redirect_uri", "https://app.example.org@evil.example/in")],
        &[("redirect_uri", "https://evil.example/")],
        &[("redirect_uri", URI), ("redirect_uri", URI)],
    ] {
        assert!(matches!(with(changes), Err(Refused::Here(_))), "{changes:?}");
    }
}

#[test]
fn what_is_wrong_is_returned_with_its_error() {
    use ErrorCode::*;
    let long = "x".repeat(5000);
    for (changes, code) in [
        (&[("response_type", "")][..], InvalidRequest),
        (&[("response_type", "token")], UnsupportedResponseType),
        (&[("response_type", "code id_token")], UnsupportedResponseType),
        (&[("response_type", "code"), ("response_type", "code")], InvalidRequest),
        (&[("response_mode", "fragment")], InvalidRequest),
        (&[("response_mode", "query.jwt")], InvalidRequest),
        (&[("scope", "")], InvalidScope),
        (&[("scope", "phone")], InvalidScope),
        (&[("scope", "openidx")], InvalidScope),
        (&[("state", "a"), ("state", "b")], InvalidRequest),
        (&[("state", &long)], InvalidRequest),
        (&[("nonce", &long)], InvalidRequest),
        (&[("prompt", "none")], LoginRequired),
        (&[("prompt", "none login")], InvalidRequest),
        (&[("prompt", "login none")], InvalidRequest),
        (&[("request", "e30.e30.")], RequestNotSupported),
        (&[("request_uri", "https://app.example.org/request.jwt")], RequestUriNotSupported),
        (&[("registration", "{}")], RegistrationNotSupported),
        (&[("code_challenge", CHALLENGE)], InvalidRequest),
        (&[("code_challenge", CHALLENGE), ("code_challenge_method", "plain")], InvalidRequest),
        (&[("code_challenge", CHALLENGE), ("code_challenge_method", "s256")], InvalidRequest),
        (&[("code_challenge", "short"), ("code_challenge_method", "S256")], InvalidRequest),
        (&[("code_challenge_method", "S256")], InvalidRequest),
        (&[("client_id", "public")], InvalidRequest),
        (&[("client_id", "hinting"), ("login_hint", "maria@example.org")], InvalidRequest),
    ] {
        assert_eq!(returned(changes), code, "{changes:?}");
    }
}

#[test]
fn errors_return_in_the_mode_and_with_the_state_of_the_request() {
    let Err(Refused::Returned(to, _)) = with(&[("response_mode", "form_post"), ("prompt", "none")]) else { panic!() };
    assert_eq!((to.mode, to.state.as_deref()), (ResponseMode::FormPost, Some("s")));
}

#[test]
fn advice_never_breaks_a_request() {
    for changes in [
        &[("prompt", "login")][..],
        &[("prompt", "consent select_account create")],
        &[("max_age", "1")],
        &[("max_age", "soon")],
        &[("display", "popup")],
        &[("display", "hologram")],
        &[("ui_locales", "tlh xx-YY")],
        &[("claims_locales", "se")],
        &[("claims", "{\"userinfo\":{\"name\":{\"essential\":true}}}")],
        &[("claims", "not JSON")],
        &[("acr_values", "urn:none")],
        &[("id_token_hint", "e30.e30.e30")],
        &[("login_hint", "maria@example.org")],
        &[("unknown", "x")],
        &[("unknown", "x"), ("unknown", "y")],
        &[("scope", "openid email address offline_access unheard_of")],
        &[("scope", "profile openid")],
        &[("request", "")],
        &[("nonce", "")],
    ] {
        assert!(with(changes).is_ok(), "{changes:?}: {:?}", with(changes));
    }
}

#[test]
fn a_public_client_is_accepted_with_pkce() {
    let pkce = [("code_challenge", CHALLENGE), ("code_challenge_method", "S256")];
    let accepted = with(&[&[("client_id", "public")], &pkce[..]].concat()).unwrap();
    assert_eq!(accepted.authorization.challenge.as_deref(), Some(CHALLENGE));
    assert!(with(&pkce).is_ok(), "and so is any other");
}

#[test]
fn a_hint_binds_only_where_the_client_says_so() {
    let hint = ("login_hint", "+44 7700 900123");
    assert_eq!(with(&[hint]).unwrap().chat, None);
    let bound = with(&[("client_id", "hinting"), hint]).unwrap().chat.unwrap();
    assert_eq!(bound.subject().value(), "+447700900123");
    assert_eq!(with(&[("client_id", "hinting")]).unwrap().chat, None);
}

#[test]
fn scopes_are_cut_to_those_of_the_client_and_the_first_known_language_is_used() {
    let accepted = with(&[("scope", "phone profile openid"), ("ui_locales", "tlh de-AT fr")]).unwrap();
    assert_eq!(accepted.authorization.scopes, ClaimScopes { phone: true, profile: false });
    assert_eq!(accepted.language.map(Language::tag), Some("de"));
}
