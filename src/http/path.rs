//! The path under which a request is routed.

use actix_web::{
    Error,
    body::MessageBody,
    dev::{ServiceRequest, ServiceResponse},
    http::Uri,
    middleware::Next,
    web::Data,
};

use percent_encoding::percent_decode_str;

use super::PublicState;
use crate::domain::token::Token;

/// Replaces the path by the one that is routed. Outside of all other middleware, so that each of them sees that path.
pub(super) async fn rewrite(
    state: Data<PublicState>,
    mut request: ServiceRequest,
    next: Next<impl MessageBody>,
) -> Result<ServiceResponse<impl MessageBody>, Error> {
    let prefix = state.services.env.public_url.as_url().path().trim_end_matches('/');
    if let Some(path) = routed(request.path(), prefix)
        && let Some(uri) = with_path(request.uri(), path)
    {
        request.match_info_mut().get_mut().update(&uri);
        request.head_mut().uri = uri;
    }
    next.call(request).await
}

/// The path without empty segments, because people end a URL with a slash and programs append their own path to that
/// slash, and without `prefix`, the path of `public_url`, which a proxy may pass on. `None` if that is `path` itself.
fn routed(path: &str, prefix: &str) -> Option<String> {
    let segments: String = path
        .split('/')
        .filter(|segment| !segment.is_empty())
        .fold(String::with_capacity(path.len() + 1), |whole, segment| whole + "/" + segment);
    let rest =
        segments.strip_prefix(prefix).filter(|rest| rest.is_empty() || rest.starts_with('/')).unwrap_or(&segments);
    let routed = if rest.is_empty() { "/" } else { without_marks(rest).unwrap_or(rest) };
    (routed != path && !path.is_empty()).then(|| routed.to_owned())
}

/// The path of a link without the marks after its token: WhatsApp makes what directly follows an address part of it, such as
/// the `*` of bold text or the end of a sentence. `None` if there are none.
fn without_marks(path: &str) -> Option<&str> {
    const MAX_MARKS: usize = 8;
    let token = ["/o/", "/d/", "/l/"].iter().find_map(|start| path.strip_prefix(start))?;
    let marks = token.get(Token::TEXT_LEN..).filter(|marks| !marks.is_empty() && !marks.contains('/'))?;
    let decoded = percent_decode_str(marks).decode_utf8().ok()?;
    let only_marks = decoded.chars().count() <= MAX_MARKS && !decoded.chars().any(char::is_alphanumeric);
    only_marks.then(|| &path[..path.len() - marks.len()])
}

fn with_path(uri: &Uri, mut path: String) -> Option<Uri> {
    if let Some(query) = uri.query() {
        path = path + "?" + query;
    }
    let mut parts = uri.clone().into_parts();
    parts.path_and_query = Some(path.parse().ok()?);
    Uri::from_parts(parts).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_empty_segments_are_removed() {
        for (path, wanted) in [
            ("/webhooks/x/", "/webhooks/x"),
            ("//webhooks//x//y/", "/webhooks/x/y"),
            ("/webhooks/x//messages-upsert", "/webhooks/x/messages-upsert"),
            ("/l/x/", "/l/x"),
            ("//", "/"),
        ] {
            assert_eq!(routed(path, "").as_deref(), Some(wanted), "{path}");
        }
        for path in ["/webhooks/x", "/", "/l/x/code", "/l/%2F/x", ""] {
            assert_eq!(routed(path, ""), None, "{path}");
        }
    }

    #[test]
    fn marks_after_a_token_are_removed() {
        let token = "A".repeat(Token::TEXT_LEN);
        for start in ["/o/", "/d/", "/l/"] {
            let link = format!("{start}{token}");
            for marks in ["*", "_", ".", ")*", "%2A", "%E2%80%9D", "...", "*_~"] {
                assert_eq!(routed(&format!("{link}{marks}"), "").as_deref(), Some(link.as_str()), "{marks}");
            }
            for other in ["", "A", "now", "*now", "%41", "/code", "*********"] {
                assert_eq!(routed(&format!("{link}{other}"), ""), None, "{other}");
            }
        }
        assert_eq!(routed("/webhooks/x*", ""), None);
    }

    #[test]
    fn a_prefix_is_whole_segments() {
        for (path, prefix, wanted) in [
            ("/otp/l/x", "/otp", "/l/x"),
            ("/otp", "/otp", "/"),
            ("/otp/", "/otp", "/"),
            ("//otp//l/x/", "/otp", "/l/x"),
            ("/otp/otp/x", "/otp", "/otp/x"),
            ("/a/b/l/x", "/a/b", "/l/x"),
        ] {
            assert_eq!(routed(path, prefix).as_deref(), Some(wanted), "{path}");
        }
        for (path, prefix) in [("/otpx/l", "/otp"), ("/l/otp", "/otp"), ("/l/x", ""), ("/", "/otp")] {
            assert_eq!(routed(path, prefix), None, "{path}");
        }
    }

    #[test]
    fn the_query_stays_as_it_was_sent() {
        let uri: Uri = "/otp/l/x?a=/otp/&b=//".parse().unwrap();
        assert_eq!(with_path(&uri, "/l/x".to_owned()).unwrap(), "/l/x?a=/otp/&b=//");
    }
}
