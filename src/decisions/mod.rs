//! Architecture decisions, each with its reasons, its cost and the conditions for a revision.

#[doc = include_str!("at_least_once.md")]
pub mod at_least_once {}
#[doc = include_str!("derived_codes.md")]
pub mod derived_codes {}
#[doc = include_str!("embedded_guides.md")]
pub mod embedded_guides {}
#[doc = include_str!("embedded_store.md")]
pub mod embedded_store {}
#[doc = include_str!("lanes.md")]
pub mod lanes {}
#[doc = include_str!("look_up_keys.md")]
pub mod look_up_keys {}
#[doc = include_str!("message_retention.md")]
pub mod message_retention {}
#[doc = include_str!("otlp.md")]
pub mod otlp {}
#[doc = include_str!("partitions.md")]
pub mod partitions {}
#[doc = include_str!("redis_cluster.md")]
pub mod redis_cluster {}
#[doc = include_str!("script_per_commit.md")]
pub mod script_per_commit {}
#[doc = include_str!("verification_kinds.md")]
pub mod verification_kinds {}
#[doc = include_str!("web_server.md")]
pub mod web_server {}
#[doc = include_str!("wire_schemas.md")]
pub mod wire_schemas {}
