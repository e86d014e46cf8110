//! What a composed webhook should tell, for `doctor`.

/// Who wrote it.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Who {
    /// A person, directly, whose phone is known.
    Person,
    /// A person in a group.
    Group,
    /// We ourselves, from the number's own phone or through the gateway.
    Own,
    /// A person whose phone WhatsApp hides behind another id.
    Hidden,
}

/// One text message.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Sample {
    pub who: Who,
    /// Hex digits, upper case.
    pub id: String,
    pub text: String,
    /// Unix seconds.
    pub at: i64,
    /// Digits of the person's phone.
    pub phone: String,
    /// Digits of our number.
    pub to: String,
    /// Digits of the person's hidden id.
    pub lid: String,
}
