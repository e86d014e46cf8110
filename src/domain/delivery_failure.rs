//! Reasons why a message was not delivered or may not have been delivered.

use super::wire::wire_enum;

wire_enum! {
    /// Why an attempt to send a message failed or has an unknown outcome.
    DeliveryFailure {
        /// The chat has no address on this channel.
        NoAddress = "no_address",
        /// No instance serves this channel.
        NoCarrier = "no_carrier",
        /// The gateway cannot start a conversation with a chat that has never sent a message.
        CannotWriteFirst = "cannot_write_first",
        /// The number has no WhatsApp account, or its owner has blocked the sender.
        NotOnWhatsApp = "not_on_whatsapp",
        /// The WhatsApp conversation window is closed, so the chat accepts no free-form text.
        WindowClosed = "window_closed",
        /// The gateway rejected the credentials.
        Unauthorized = "unauthorized",
        /// The gateway rejected the message permanently.
        Permanent = "permanent",
        /// The gateway reported that it did not send the message.
        NotSent = "not_sent",
        /// The gateway's rate limit is exceeded.
        RateLimited = "rate_limited",
        /// The gateway's message quota is used up for now.
        Quota = "quota",
        /// The gateway is not connected to WhatsApp.
        NotConnected = "not_connected",
        /// The gateway returned an error.
        GatewayError = "gateway_error",
        /// A proxy or the gateway timed out; the message may still be delivered.
        GatewayTimeout = "gateway_timeout",
        /// Connections to the gateway's address are forbidden.
        ForbiddenTarget = "forbidden_target",
        /// The gateway's host name could not be resolved.
        Dns = "dns",
        /// The connection to the gateway failed.
        Connect = "connect",
        /// The TLS handshake with the gateway failed.
        Tls = "tls",
        /// The gateway did not respond in time.
        Timeout = "timeout",
        /// The connection was closed before the response was complete.
        Broken = "broken",
    }
}
