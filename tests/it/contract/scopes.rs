//! Every operation and every scope: a token does what its scopes say, and nothing else.

use countersign::{
    domain::scope::Scope,
    http::contract::{Credentials, operations},
};

use super::{
    Overrides,
    live::{self, prepare},
    send,
    validator::ResponseValidator,
};
use crate::daemon::token_entry;

#[tokio::test(flavor = "multi_thread")]
async fn an_operation_needs_its_scope_and_no_other() {
    let mut world = live::world();
    for scope in Scope::ALL {
        let name = scope.as_str();
        let mut others: Vec<&str> =
            Scope::ALL.iter().filter(|other| *other != scope).map(|other| other.as_str()).collect();
        if *scope == Scope::Read {
            others.retain(|other| *other != "read_secrets");
        }
        let alone = if *scope == Scope::ReadSecrets { vec!["read", name] } else { vec![name] };
        world.more_token_entries +=
            &token_entry(&format!("cst_only-{name}"), &format!("id = \"only-{name}\", scopes = {alone:?}"));
        world.more_token_entries +=
            &token_entry(&format!("cst_but-{name}"), &format!("id = \"but-{name}\", scopes = {others:?}"));
    }
    let daemon = world.start().await;
    let judge = ResponseValidator::new();
    let mut compared = 0;
    for (number, operation) in operations().iter().enumerate() {
        let id = operation.id;
        let Some(scope) = operation.scope.filter(|_| operation.credentials != Credentials::Wawp) else {
            let open = !matches!(operation.credentials, Credentials::Token | Credentials::PollToken);
            assert!(open, "{id} needs a token and no scope");
            continue;
        };
        let live = prepare(&world, &daemon, operation, number).await;
        let lacking = format!("cst_but-{}", scope.as_str());
        let refused =
            send(&daemon, operation, &live, Overrides { token: Some(&lacking), ..Overrides::default() }).await;
        judge.check(operation, &refused);
        assert_eq!((refused.status, &refused.json["code"]), (403, &"insufficient_scope".into()), "{id}");
        let challenge = format!("Bearer error=\"insufficient_scope\", scope=\"{}\"", scope.as_str());
        assert_eq!(refused.header("www-authenticate"), challenge, "{id}");
        let having = format!("cst_only-{}", scope.as_str());
        let done = send(&daemon, operation, &live, Overrides { token: Some(&having), ..Overrides::default() }).await;
        judge.check(operation, &done);
        assert_eq!(done.status, operation.answers[0].status, "{id}: {}", done.text);
        compared += 1;
    }
    assert!(compared >= 15, "{compared} operations with a token");
    daemon.finish().await;
}
