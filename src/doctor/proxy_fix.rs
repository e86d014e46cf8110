//! The settings of common proxies that break webhooks, by what `doctor` saw.

use std::fmt;

/// Where to look in the configuration of each proxy. Displayed as one line.
pub(super) struct ProxyFix {
    nginx: &'static str,
    haproxy: &'static str,
    caddy: &'static str,
    apache: &'static str,
    envoy: &'static str,
}

impl fmt::Display for ProxyFix {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { nginx, haproxy, caddy, apache, envoy } = self;
        write!(f, "nginx: {nginx}; HAProxy: {haproxy}; Caddy: {caddy}; Apache: {apache}; Envoy: {envoy}")
    }
}

/// The body arrived changed.
pub(super) const CHANGED_BODY: ProxyFix = ProxyFix {
    nginx: "no ModSecurity, Lua or njs filter in this location",
    haproxy: "no Lua action and no SPOE filter that rewrites requests",
    caddy: "no plugin that rewrites request bodies",
    apache: "no SetInputFilter, such as DEFLATE",
    envoy: "no decompressor, transcoder or Lua filter on this route",
};

/// A header did not arrive.
pub(super) const DROPPED_HEADER: ProxyFix = ProxyFix {
    nginx: "no proxy_pass_request_headers off, and no proxy_set_header with an empty value",
    haproxy: "no http-request del-header",
    caddy: "no header_up with a minus sign",
    apache: "no RequestHeader unset",
    envoy: "nothing in request_headers_to_remove",
};

/// The certificate is not trusted.
pub(super) const CERTIFICATE: ProxyFix = ProxyFix {
    nginx: "ssl_certificate with the whole chain (fullchain.pem)",
    haproxy: "one crt file with certificate, chain and key",
    caddy: "a public name instead of `tls internal`",
    apache: "SSLCertificateFile with the whole chain (fullchain.pem)",
    envoy: "the whole chain in certificate_chain",
};

/// The answer is a redirect.
pub(super) const REDIRECT: ProxyFix = ProxyFix {
    nginx: "return 301 and rewrite",
    haproxy: "http-request redirect",
    caddy: "redir, and http:// where it serves https://",
    apache: "Redirect and RewriteRule",
    envoy: "require_tls and redirect",
};

/// The answer is 403.
pub(super) const FORBIDDEN: ProxyFix = ProxyFix {
    nginx: "deny, auth_basic and auth_request",
    haproxy: "http-request deny and http-request auth",
    caddy: "basic_auth and forward_auth",
    apache: "Require and AuthType",
    envoy: "the filters rbac and ext_authz",
};

/// The answer is 413.
pub(super) const TOO_LARGE: ProxyFix = ProxyFix {
    nginx: "client_max_body_size 4m",
    haproxy: "no http-request deny by req.body_size",
    caddy: "max_size 4MB in request_body",
    apache: "LimitRequestBody 4194304",
    envoy: "max_request_bytes of the buffer filter",
};

/// The answer is 502, 503 or 504.
pub(super) const UNREACHABLE: ProxyFix = ProxyFix {
    nginx: "proxy_pass",
    haproxy: "the server line of the backend",
    caddy: "reverse_proxy",
    apache: "ProxyPass",
    envoy: "the endpoints of the cluster",
};
