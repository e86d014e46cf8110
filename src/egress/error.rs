//! Errors of outgoing requests: the cause, and whether the request may have arrived.

use std::{error::Error, io};

use rustls::{CertificateError, Error as TlsError};

/// A request without a complete response.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, thiserror::Error)]
#[error("{}: {}", self.cause.as_str(), self.cause)]
pub struct EgressError {
    pub cause: Cause,
    /// The server may have received the request. If `false`, no byte of it was sent, and a retry cannot duplicate it.
    pub may_have_arrived: bool,
}

/// The cause of an [`EgressError`]. [`Cause::as_str`] is its class for metrics and stored records; `Display` is for
/// people.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, thiserror::Error)]
pub enum Cause {
    /// One text for every forbidden target, so that error texts cannot be used to map an internal network.
    #[error("this address is not open to callbacks")]
    Forbidden,
    #[error("the name has no address")]
    Dns,
    #[error("connection refused")]
    Refused,
    #[error("no connection")]
    Connect,
    #[error("{0}")]
    Tls(&'static str),
    #[error("no connection in time")]
    ConnectTimeout,
    #[error("no answer in time")]
    Timeout,
    #[error("the connection ended without a whole answer")]
    Incomplete,
}

impl Cause {
    /// The class of the cause: a value of metric labels.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Forbidden => "forbidden_target",
            Self::Dns => "dns",
            Self::Refused | Self::Connect => "connect",
            Self::Tls(_) => "tls",
            Self::ConnectTimeout | Self::Timeout => "timeout",
            Self::Incomplete => "broken",
        }
    }

    pub(super) const fn is_connect_error(self) -> bool {
        matches!(self, Self::Forbidden | Self::Dns | Self::Refused | Self::Connect | Self::ConnectTimeout)
    }
}

/// A cause found before anything was sent.
impl From<Cause> for EgressError {
    fn from(cause: Cause) -> Self {
        Self { cause, may_have_arrived: false }
    }
}

/// Classifies by the types in the chain of sources, never by their text.
pub(super) fn classify(error: &reqwest::Error) -> Cause {
    let mut refused = false;
    let mut cause: Option<&(dyn Error + 'static)> = Some(error);
    while let Some(current) = cause {
        if let Some(ours) = current.downcast_ref::<Cause>() {
            return *ours;
        }
        if let Some(error) = current.downcast_ref::<TlsError>() {
            return Cause::Tls(tls_reason(error));
        }
        let io = current.downcast_ref::<io::Error>();
        refused |= io.is_some_and(|error| error.kind() == io::ErrorKind::ConnectionRefused);
        // `io::Error::source` skips the error it wraps and returns the source of that one.
        let inner = io.and_then(io::Error::get_ref);
        cause = inner.map(|inner| inner as &(dyn Error + 'static)).or_else(|| current.source());
    }
    match (error.is_connect(), error.is_timeout()) {
        (true, true) => Cause::ConnectTimeout,
        (false, true) => Cause::Timeout,
        (true, false) if refused => Cause::Refused,
        (true, false) => Cause::Connect,
        (false, false) => Cause::Incomplete,
    }
}

fn tls_reason(error: &TlsError) -> &'static str {
    match error {
        TlsError::InvalidCertificate(certificate) => certificate_reason(certificate),
        TlsError::NoCertificatesPresented => "no certificate was presented",
        TlsError::AlertReceived(_) => "the receiver ended the handshake",
        TlsError::PeerIncompatible(_) => "no TLS version or cipher in common",
        TlsError::InvalidMessage(_) | TlsError::InappropriateMessage { .. } => "the receiver does not speak TLS",
        _ => "the handshake failed",
    }
}

fn certificate_reason(error: &CertificateError) -> &'static str {
    match error {
        CertificateError::Expired | CertificateError::ExpiredContext { .. } => "certificate expired",
        CertificateError::NotValidYet | CertificateError::NotValidYetContext { .. } => "certificate not valid yet",
        CertificateError::NotValidForName | CertificateError::NotValidForNameContext { .. } => {
            "certificate is for another name"
        }
        CertificateError::UnknownIssuer => "certificate from an unknown issuer",
        CertificateError::Revoked => "certificate revoked",
        CertificateError::InvalidPurpose | CertificateError::InvalidPurposeContext { .. } => {
            "certificate is not for servers"
        }
        _ => "certificate is not valid",
    }
}
