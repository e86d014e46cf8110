//! Entries of the audit stream: one for each request whose sender was authenticated.

use actix_web::HttpRequest;
use serde_json::json;

use super::client;
use crate::{
    config::EdgeConfig,
    domain::time::rfc3339,
    service::{Action, Services},
};

/// Writes an entry if auditing is on and the actor is known. `action` is the method with the route's template,
/// never the path or the query, which hold personal data.
pub(super) fn write_entry(
    services: &Services,
    edge: &EdgeConfig,
    request: &HttpRequest,
    action_taken: &Action,
    action: &str,
    status: u16,
) {
    let Some(actor) = action_taken.actor.as_ref().filter(|_| services.env.audit.is_enabled()) else { return };
    let path_parameter = |name: &str| request.match_info().get(name);
    let uuid = action_taken.verification.map(|id| id.to_string());
    services.env.audit.write(&json!({
        "at": rfc3339(services.env.clock.wall()),
        "by": actor.to_string(),
        "did": action,
        "instance": action_taken.instance.map(|id| id.to_string()).as_deref().or_else(|| path_parameter("instance")),
        "uuid": uuid.as_deref().or_else(|| path_parameter("uuid")),
        "callback": action_taken.replayed.as_deref().or_else(|| path_parameter("id")),
        "status": status,
        "ip": client::ip_address(request, edge).to_string(),
    }));
}
