//! The channels over which messages are sent.

use super::wire::wire_enum;

wire_enum! {
    /// The channel over which a message is sent.
    Channel {
        /// WhatsApp, from the instance's own number.
        WhatsApp = "whatsapp",
        /// SMS.
        Sms = "sms",
    }
}
