//! The decision on an authorization request.

use serde::{Deserialize, Serialize};

use super::{ClaimScopes, Client, ErrorCode, Parameters, ProtocolError};
use crate::domain::{Chat, Language, wire::wire_enum};

/// Longest `state` in bytes. Some clients keep an encrypted session in it.
const MAX_STATE: usize = 4096;
/// Longest `nonce` in bytes.
const MAX_NONCE: usize = 1024;
/// Length of an S256 challenge: 32 bytes in base64url.
const CHALLENGE_LEN: usize = 43;

wire_enum! {
    /// How the response travels to the client.
    ResponseMode {
        /// In the query of the redirect URI.
        Query = "query",
        /// In a form that the browser posts to the redirect URI.
        FormPost = "form_post",
    }
}

wire_enum! {
    /// Values of `prompt`. All but `none` ask for what always happens here.
    Prompt {
        /// Show nothing: without sessions no login is possible that way.
        None = "none",
        /// Ask the person to log in.
        Login = "login",
        /// Ask the person to agree.
        Consent = "consent",
        /// Let the person choose an account.
        SelectAccount = "select_account",
    }
}

/// Where a response goes, and what it repeats.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct ReturnAddress {
    /// One of the client's, letter by letter.
    pub redirect_uri: String,
    pub mode: ResponseMode,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub state: Option<String>,
}

/// An accepted request: what is needed of it until the code is exchanged.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Authorization {
    pub client: String,
    #[serde(flatten)]
    pub to: ReturnAddress,
    #[serde(flatten)]
    pub scopes: ClaimScopes,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub nonce: Option<String>,
    /// S256 of the client's verifier (RFC 7636).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub challenge: Option<String>,
    /// The client's setting at the time of the request.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub allow_hidden: bool,
}

/// An accepted request, with what matters only for its page and its link.
#[derive(Clone, Debug)]
pub struct Accepted {
    pub authorization: Authorization,
    /// The only chat that can prove the login.
    pub chat: Option<Chat>,
    /// From `ui_locales`; `None` if it names no language that is built in.
    pub language: Option<Language>,
}

/// Why a request is refused, and to whom it is reported.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Refused {
    /// The request does not prove that it is the client's: reported to the person only.
    Here(ProtocolError),
    /// Reported to the client.
    Returned(ReturnAddress, ProtocolError),
}

/// Decides on an authorization request. Parameters that are unknown or only advise never break one.
///
/// # Errors
/// See [`Refused`]: nothing is ever sent to a redirect URI that the client did not register.
pub fn authorize(parameters: &Parameters, clients: &[Client]) -> Result<Accepted, Refused> {
    let here = |description| Refused::Here(ProtocolError::new(ErrorCode::InvalidRequest, description));
    let client = Client::find(clients, parameters).ok_or_else(|| here("client_id names no client of this issuer"))?;
    let given = parameters.get("redirect_uri").map_err(Refused::Here)?;
    let given = given.ok_or_else(|| here("redirect_uri is missing"))?;
    let known = client.redirect_uris.iter().any(|known| known == given);
    if !known {
        return Err(here("redirect_uri is not registered for this client; it is compared letter by letter"));
    }
    let mut to = ReturnAddress { redirect_uri: given.to_owned(), mode: ResponseMode::Query, state: None };
    match of_client(parameters, client, &mut to) {
        Ok(accepted) => Ok(accepted),
        Err(error) => Err(Refused::Returned(to, error)),
    }
}

/// Everything that is reported to the client. Fills in `to` first, so that every error returns as was requested.
fn of_client(parameters: &Parameters, client: &Client, to: &mut ReturnAddress) -> Result<Accepted, ProtocolError> {
    let invalid = |description| ProtocolError::new(ErrorCode::InvalidRequest, description);
    if let Some(mode) = parameters.get("response_mode")? {
        to.mode = ResponseMode::parse(mode).ok_or_else(|| invalid("response_mode must be query or form_post"))?;
    }
    let state = parameters.get("state")?;
    if state.is_some_and(|state| state.len() > MAX_STATE) {
        return Err(invalid("state is longer than 4096 bytes"));
    }
    to.state = state.map(str::to_owned);
    match parameters.get("response_type")? {
        Some("code") => {}
        Some(_) => return Err(ProtocolError::new(ErrorCode::UnsupportedResponseType, "response_type must be code")),
        None => return Err(invalid("response_type is missing")),
    }
    unsupported(parameters)?;
    let scope = parameters.get("scope")?.unwrap_or_default();
    if !scope.split(' ').any(|word| word == "openid") {
        return Err(ProtocolError::new(ErrorCode::InvalidScope, "scope must contain openid"));
    }
    let nonce = parameters.get("nonce")?;
    if nonce.is_some_and(|nonce| nonce.len() > MAX_NONCE) {
        return Err(invalid("nonce is longer than 1024 bytes"));
    }
    prompt(parameters)?;
    let challenge = challenge(parameters, client)?;
    let chat = match parameters.advice("login_hint").filter(|_| client.login_hint) {
        // An app that restricts the login to a chat must not get one of another chat.
        Some(hint) => {
            Some(hint.parse::<Chat>().map_err(|_| invalid("login_hint must be an international phone number"))?)
        }
        None => None,
    };
    let authorization = Authorization {
        client: client.id.clone(),
        to: to.clone(),
        scopes: ClaimScopes::named(scope).within(client.scopes),
        nonce: nonce.map(str::to_owned),
        challenge,
        allow_hidden: client.allow_hidden,
    };
    let languages = parameters.advice("ui_locales").unwrap_or_default();
    Ok(Accepted { authorization, chat, language: languages.split(' ').find_map(Language::find) })
}

/// Refuses what must not be ignored, because the client relies on it.
fn unsupported(parameters: &Parameters) -> Result<(), ProtocolError> {
    for (name, code) in [
        ("request", ErrorCode::RequestNotSupported),
        ("request_uri", ErrorCode::RequestUriNotSupported),
        ("registration", ErrorCode::RegistrationNotSupported),
    ] {
        if parameters.get(name)?.is_some() {
            return Err(ProtocolError::new(code, "send the parameters of the request themselves"));
        }
    }
    Ok(())
}

fn prompt(parameters: &Parameters) -> Result<(), ProtocolError> {
    let Some(prompt) = parameters.get("prompt")? else { return Ok(()) };
    let mut words = prompt.split(' ').map(Prompt::parse);
    if !words.clone().any(|word| word == Some(Prompt::None)) {
        return Ok(());
    }
    Err(match (words.next(), words.next()) {
        (Some(_), None) => ProtocolError::new(ErrorCode::LoginRequired, "a login always needs the person"),
        _ => ProtocolError::new(ErrorCode::InvalidRequest, "prompt is none together with another value"),
    })
}

/// The S256 challenge. A method without a challenge is refused as well: the client believes that it is protected.
fn challenge(parameters: &Parameters, client: &Client) -> Result<Option<String>, ProtocolError> {
    let invalid = |description| ProtocolError::new(ErrorCode::InvalidRequest, description);
    let (challenge, method) = (parameters.get("code_challenge")?, parameters.get("code_challenge_method")?);
    match (challenge, method) {
        (None, None) if client.is_public() => Err(invalid("a client without a secret needs code_challenge (PKCE)")),
        (None, None) => Ok(None),
        (None, Some(_)) => Err(invalid("code_challenge is missing")),
        (Some(challenge), Some("S256")) => {
            let of_alphabet = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'_';
            let shaped = challenge.len() == CHALLENGE_LEN && challenge.bytes().all(of_alphabet);
            shaped
                .then(|| Some(challenge.to_owned()))
                .ok_or_else(|| invalid("code_challenge must be a SHA-256 in base64url: 43 characters"))
        }
        // Without a method it would be `plain`.
        (Some(_), _) => Err(invalid("code_challenge_method must be S256")),
    }
}

#[cfg(test)]
mod tests;
