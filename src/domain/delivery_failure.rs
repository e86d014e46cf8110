//! Why a message was not delivered, or perhaps not.

use super::wire::wire_enum;

wire_enum! {
    /// Why an attempt to send a message did not deliver it.
    DeliveryFailure {
        /// The chat has no address on this channel.
        NoAddress = "no_address",
        /// No instance carries this channel.
        NoCarrier = "no_carrier",
        /// The gateway cannot write to a chat that has not written before.
        CannotWriteFirst = "cannot_write_first",
        /// The number has no WhatsApp account, or blocks us.
        NotOnWhatsApp = "not_on_whatsapp",
        /// WhatsApp takes no free text to this chat now.
        WindowClosed = "window_closed",
        /// The gateway refuses our credentials.
        Unauthorized = "unauthorized",
        /// The gateway refused the message for good.
        Permanent = "permanent",
        /// The gateway said that it did not send it.
        NotSent = "not_sent",
        /// The gateway takes no more messages for now.
        RateLimited = "rate_limited",
        /// What the gateway may send is used up for now.
        Quota = "quota",
        /// The gateway has no connection to WhatsApp.
        NotConnected = "not_connected",
        /// The gateway failed.
        GatewayError = "gateway_error",
        /// A proxy or the gateway gave up waiting; the message may be on its way.
        GatewayTimeout = "gateway_timeout",
        /// The address of the gateway is closed.
        ForbiddenTarget = "forbidden_target",
        /// The name of the gateway has no address.
        Dns = "dns",
        /// There was no connection to the gateway.
        Connect = "connect",
        /// The TLS handshake with the gateway failed.
        Tls = "tls",
        /// The gateway did not answer in time.
        Timeout = "timeout",
        /// The connection ended without a whole answer.
        Broken = "broken",
    }
}
