//! The areas of the API, and how callers authenticate.

/// The areas of the API, in the order of the documentation.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Area {
    Links,
    Codes,
    Requests,
    Callbacks,
    People,
    Wawp,
    Pages,
    Webhooks,
    Contract,
}

impl Area {
    pub const ALL: &[Self] = &[
        Self::Links,
        Self::Codes,
        Self::Requests,
        Self::Callbacks,
        Self::People,
        Self::Wawp,
        Self::Pages,
        Self::Webhooks,
        Self::Contract,
    ];

    pub const fn title(self) -> &'static str {
        match self {
            Self::Links => "Login links",
            Self::Codes => "Codes",
            Self::Requests => "Requests",
            Self::Callbacks => "Callback log",
            Self::People => "People",
            Self::Wawp => "Wawp's paths",
            Self::Pages => "Pages",
            Self::Webhooks => "Webhooks",
            Self::Contract => "This contract",
        }
    }

    /// Id for anchors.
    pub const fn id(self) -> &'static str {
        match self {
            Self::Links => "links",
            Self::Codes => "codes",
            Self::Requests => "requests",
            Self::Callbacks => "callback-log",
            Self::People => "people",
            Self::Wawp => "wawp",
            Self::Pages => "pages",
            Self::Webhooks => "webhooks",
            Self::Contract => "contract",
        }
    }

    pub const fn about(self) -> &'static str {
        match self {
            Self::Links => "A person taps a link, presses Send in WhatsApp, and the app learns which chat wrote.",
            Self::Codes => "The older flow: a code is sent out, and the person types it.",
            Self::Requests => "What was asked for, what became of it, and how to end it.",
            Self::Callbacks => "What was sent to the app, and how to have it sent again.",
            Self::People => "Why a message did nothing, and a person's wish to be forgotten.",
            Self::Wawp => "The paths of Wawp's v2 API, for apps that were written for it.",
            Self::Pages => "What a person's browser opens. GET changes nothing; only a tap does.",
            Self::Webhooks => "Where the gateway delivers messages. Each is authenticated over its raw bytes.",
            Self::Contract => "The API, described for people and for programs.",
        }
    }
}

/// How a caller authenticates.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Credentials {
    /// `Authorization: Bearer <API token>` of the instance in the path.
    Token,
    /// The API token, or the poll token of the request.
    PollToken,
    /// Wawp's `access_token`, in query, body or header.
    Wawp,
    /// The signature or secret that the gateway sends.
    Gateway,
    /// No credentials, apart from a token in the path where there is one.
    Public,
}

impl Credentials {
    pub const fn about(self) -> &'static str {
        match self {
            Self::Token => "API token",
            Self::PollToken => "API token, or the request's poll token",
            Self::Wawp => "access token, in query, body or header",
            Self::Gateway => "the gateway's proof",
            Self::Public => "public",
        }
    }

    /// Whether the request carries a bearer token.
    pub const fn is_token(self) -> bool {
        matches!(self, Self::Token | Self::PollToken)
    }
}
