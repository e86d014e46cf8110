//! What carries messages.

use super::wire::wire_enum;

wire_enum! {
    /// What carries messages to a chat.
    Channel {
        /// The instance's own number on WhatsApp.
        WhatsApp = "whatsapp",
        /// A text message of the phone network.
        Sms = "sms",
    }
}
