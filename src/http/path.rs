//! The path under which a request is routed.

use actix_web::{
    Error,
    body::MessageBody,
    dev::{ServiceRequest, ServiceResponse},
    http::Uri,
    middleware::Next,
    web::Data,
};

use super::PublicState;

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
        .fold(String::new(), |whole, segment| whole + "/" + segment);
    let rest =
        segments.strip_prefix(prefix).filter(|rest| rest.is_empty() || rest.starts_with('/')).unwrap_or(&segments);
    let routed = if rest.is_empty() { "/" } else { rest };
    (routed != path && !path.is_empty()).then(|| routed.to_owned())
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
