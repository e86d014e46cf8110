//! How a client authenticates at the token endpoint (RFC 6749, 2.3; OpenID Connect Core 1.0, 9).

use base64::{Engine as _, engine::general_purpose::STANDARD};
use url::form_urlencoded;

use crate::{
    domain::oidc::{Client, ErrorCode, Parameters, ProtocolError},
    hash::sha256,
};

const INVALID_CLIENT: ProtocolError =
    ProtocolError::new(ErrorCode::InvalidClient, "the client is unknown, or its secret is wrong or missing");

/// The client that sent a request with this `Authorization` header and these fields.
///
/// # Errors
/// `invalid_client`, or `invalid_request` if it authenticates in two ways.
pub(super) fn authenticate<'a>(
    clients: &'a [Client],
    authorization: Option<&str>,
    fields: &Parameters,
) -> Result<&'a Client, ProtocolError> {
    let (id, posted) = (fields.get("client_id")?, fields.get("client_secret")?);
    let (id, secret) = match authorization {
        Some(header) => {
            let (basic_id, secret) = basic(header).ok_or(INVALID_CLIENT)?;
            if posted.is_some() || id.is_some_and(|id| id != basic_id) {
                return Err(ProtocolError::new(ErrorCode::InvalidRequest, "the client authenticates in two ways"));
            }
            // Some public clients send their id with an empty secret.
            (basic_id, Some(secret).filter(|secret| !secret.is_empty()))
        }
        None => (id.unwrap_or_default().to_owned(), posted.map(str::to_owned)),
    };
    let client = clients.iter().find(|client| client.id == id).ok_or(INVALID_CLIENT)?;
    let authenticated = match &secret {
        Some(secret) => client.knows(&sha256(secret.as_bytes())),
        None => client.is_public(),
    };
    if authenticated { Ok(client) } else { Err(INVALID_CLIENT) }
}

/// Id and secret of HTTP Basic authentication. Each is encoded as in a form first (RFC 6749, 2.3.1).
fn basic(header: &str) -> Option<(String, String)> {
    let (scheme, encoded) = header.split_once(' ')?;
    if !scheme.eq_ignore_ascii_case("basic") {
        return None;
    }
    let pair = String::from_utf8(STANDARD.decode(encoded.trim()).ok()?).ok()?;
    let (id, secret) = pair.split_once(':')?;
    Some((decoded(id), decoded(secret)))
}

fn decoded(text: &str) -> String {
    // As a form's only value: `&` and `=` do not occur in what was encoded, and are kept where it was not.
    let escaped = text.replace('&', "%26");
    form_urlencoded::parse(format!("={escaped}").as_bytes())
        .next()
        .map(|(_, value)| value.into_owned())
        .unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::oidc::{Algorithm, ClaimScopes, SubjectType};

    fn client(id: &str, secrets: &[&str]) -> Client {
        Client {
            id: id.to_owned(),
            name: None,
            secrets: secrets.iter().map(|secret| sha256(secret.as_bytes())).collect(),
            redirect_uris: Vec::new(),
            scopes: ClaimScopes::default(),
            subject: SubjectType::Pairwise,
            sector: String::new(),
            login_hint: false,
            allow_hidden: false,
            algorithm: Algorithm::Rs256,
            purpose: None,
        }
    }

    fn try_with(header: Option<&str>, fields: &[(&str, &str)]) -> Result<String, ErrorCode> {
        let clients = [client("shop", &["old", "n w+&=:%/ü"]), client("spa", &[])];
        let fields = fields.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
        let header = header.map(|pair| format!("Basic {}", STANDARD.encode(pair)));
        let found = authenticate(&clients, header.as_deref(), &fields);
        found.map(|client| client.id.clone()).map_err(|error| error.code)
    }

    #[test]
    fn every_secret_works_in_either_way_and_encoded() {
        let encoded: String = form_urlencoded::byte_serialize("n w+&=:%/ü".as_bytes()).collect();
        for secret in ["old", &encoded] {
            assert_eq!(try_with(Some(&format!("shop:{secret}")), &[]).as_deref(), Ok("shop"), "{secret}");
        }
        assert_eq!(try_with(Some("shop:old"), &[("client_id", "shop")]).as_deref(), Ok("shop"));
        for secret in ["old", "n w+&=:%/ü"] {
            assert_eq!(try_with(None, &[("client_id", "shop"), ("client_secret", secret)]).as_deref(), Ok("shop"));
        }
        assert_eq!(try_with(None, &[("client_id", "spa")]).as_deref(), Ok("spa"));
        assert_eq!(try_with(Some("spa:"), &[]).as_deref(), Ok("spa"));
    }

    #[test]
    fn everything_else_is_refused() {
        use ErrorCode::{InvalidClient, InvalidRequest};
        for (header, fields, code) in [
            (None, &[][..], InvalidClient),
            (None, &[("client_id", "shop")], InvalidClient),
            (None, &[("client_id", "shop"), ("client_secret", "")], InvalidClient),
            (None, &[("client_id", "shop"), ("client_secret", "other")], InvalidClient),
            (None, &[("client_id", "spa"), ("client_secret", "old")], InvalidClient),
            (None, &[("client_id", "none"), ("client_secret", "old")], InvalidClient),
            (None, &[("client_id", "spa"), ("client_id", "spa")], InvalidRequest),
            (Some("shop:"), &[], InvalidClient),
            (Some("shop"), &[], InvalidClient),
            (Some("shop:other"), &[], InvalidClient),
            (Some("shop:old"), &[("client_secret", "old")], InvalidRequest),
            (Some("shop:old"), &[("client_id", "spa")], InvalidRequest),
        ] {
            assert_eq!(try_with(header, fields), Err(code), "{header:?} {fields:?}");
        }
        let clients = [client("shop", &["old"])];
        for header in ["Bearer x", "Basic", "Basic ???", "Digest a=b"] {
            let found = authenticate(&clients, Some(header), &Parameters::default());
            assert_eq!(found.unwrap_err().code, InvalidClient, "{header}");
        }
    }
}
