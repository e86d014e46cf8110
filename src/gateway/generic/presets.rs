//! Settings of gateways that need no code of their own.

pub(crate) const GUPSHUP: &str = include_str!("presets/gupshup.toml");
pub(crate) const INFOBIP: &str = include_str!("presets/infobip.toml");
pub(crate) const ULTRAMSG: &str = include_str!("presets/ultramsg.toml");
pub(crate) const Z_API: &str = include_str!("presets/z-api.toml");
