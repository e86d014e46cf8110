//! Errors of outgoing requests: the cause, and whether the request may have arrived.

use std::{error::Error, io};

use crate::{config::handshake_failure, domain::DeliveryFailure};

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
    pub fn as_str(self) -> &'static str {
        DeliveryFailure::from(self).as_str()
    }

    pub(super) const fn is_connect_error(self) -> bool {
        matches!(self, Self::Forbidden | Self::Dns | Self::Refused | Self::Connect | Self::ConnectTimeout)
    }
}

impl From<Cause> for DeliveryFailure {
    fn from(cause: Cause) -> Self {
        match cause {
            Cause::Forbidden => Self::ForbiddenTarget,
            Cause::Dns => Self::Dns,
            Cause::Refused | Cause::Connect => Self::Connect,
            Cause::Tls(_) => Self::Tls,
            Cause::ConnectTimeout | Cause::Timeout => Self::Timeout,
            Cause::Incomplete => Self::Broken,
        }
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
        if let Some(error) = current.downcast_ref::<rustls::Error>() {
            return Cause::Tls(handshake_failure(error));
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
