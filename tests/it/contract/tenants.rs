//! Two tenants and every operation: resources of the other tenant get the response for unknown ones.

use countersign::http::contract::{Credentials, operations, values};

use super::{
    Overrides,
    live::{self, Live, prepare},
    send,
};
use crate::daemon::{META, META_TOKEN, ReceivedResponse};

/// Operations that name no instance.
const UNKNOWN_INSTANCE: &str = "5f0c2a90-0000-4000-8000-0000000000ff";

/// Values that belong to a tenant.
const OWNED: [&str; 6] =
    [values::UUID, values::CODE_UUID, values::CALLBACK, values::REDEEM_TOKEN, values::OTP, values::POLL_TOKEN];

fn observable(answer: &ReceivedResponse) -> (u16, &str) {
    (answer.status, &answer.text)
}

#[tokio::test(flavor = "multi_thread")]
async fn ids_of_another_tenant_are_answered_like_unknown_ones() {
    let world = live::world();
    let daemon = world.start().await;
    let theirs = Overrides { token: Some(META_TOKEN), ..Overrides::default() };
    let mut compared = 0;
    for (number, operation) in operations().iter().enumerate() {
        if !matches!(operation.credentials, Credentials::Token | Credentials::PollToken) {
            continue;
        }
        let id = operation.id;
        let ours = prepare(&world, &daemon, operation, number).await;
        let foreign = send(&daemon, operation, &ours, theirs).await;
        let ours = ours.at(UNKNOWN_INSTANCE);
        let unknown = send(&daemon, operation, &ours, theirs).await;
        assert_eq!(observable(&foreign), observable(&unknown), "{id}: another's instance looks unlike none");
        assert_eq!(foreign.status, 404, "{id}: {}", foreign.text);
        if OWNED.iter().any(|value| live::sent(operation).contains(value)) {
            let foreign = send(&daemon, operation, &ours.at(META), theirs).await;
            let unknown = send(&daemon, operation, &Live::default().at(META), theirs).await;
            assert_eq!(observable(&foreign), observable(&unknown), "{id}: another's ids look unlike none");
            // A question is answered: there is nothing to tell.
            assert!(foreign.status >= 400 || id == "explain", "{id}: {}", foreign.text);
            compared += 1;
        }
    }
    assert!(compared >= 6, "{compared}");
    daemon.finish().await;
}
