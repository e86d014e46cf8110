//! The path of `public_url`, below which a proxy may pass requests on.

use actix_web::{
    Error,
    body::MessageBody,
    dev::{ServiceRequest, ServiceResponse},
    http::Uri,
    middleware::Next,
    web::Data,
};

use super::PublicState;

/// Removes the prefix from the path, if the proxy has not done so. Outside of other middleware, so that it sees
/// the path that is routed; inside of `normalize_path` alone.
pub(super) async fn strip(
    state: Data<PublicState>,
    mut request: ServiceRequest,
    next: Next<impl MessageBody>,
) -> Result<ServiceResponse<impl MessageBody>, Error> {
    let prefix = state.service.public_url.path().trim_end_matches('/');
    if let Some(uri) = without(request.uri(), prefix) {
        request.match_info_mut().get_mut().update(&uri);
        request.head_mut().uri = uri;
    }
    next.call(request).await
}

/// `None` if the path does not begin with the prefix, or if there is none.
fn without(uri: &Uri, prefix: &str) -> Option<Uri> {
    let rest = uri.path_and_query()?.as_str().strip_prefix(prefix).filter(|_| !prefix.is_empty())?;
    let rest = match rest.chars().next() {
        Some('/') => rest.to_owned(),
        None | Some('?') => format!("/{rest}"),
        Some(_) => return None,
    };
    let mut parts = uri.clone().into_parts();
    parts.path_and_query = Some(rest.parse().ok()?);
    Uri::from_parts(parts).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_prefix_is_whole_segments() {
        let strip = |uri: &str, prefix: &str| without(&uri.parse().unwrap(), prefix).map(|uri| uri.to_string());
        assert_eq!(strip("/otp/l/x?a=/otp/", "/otp").as_deref(), Some("/l/x?a=/otp/"));
        assert_eq!(strip("/otp", "/otp").as_deref(), Some("/"));
        assert_eq!(strip("/otp?a", "/otp").as_deref(), Some("/?a"));
        assert_eq!(strip("/otp/otp/x", "/otp").as_deref(), Some("/otp/x"));
        assert_eq!(strip("/a/b/l/x", "/a/b").as_deref(), Some("/l/x"));
        for (uri, prefix) in [("/otpx/l", "/otp"), ("/l/otp", "/otp"), ("/l/x", ""), ("/", "/otp")] {
            assert_eq!(strip(uri, prefix), None, "{uri}");
        }
    }
}
