//! Whether the libraries that receivers use accept our callbacks.
//!
//! A secret is rotated in three states: the old one signs, both sign, the new one signs. A receiver that holds
//! the old or the new secret must accept four of those six cells, and nothing that was changed on the way.
//! The crate judges always; the libraries for Python and JavaScript with `COUNTERSIGN_INTEROP=1`.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

mod callbacks;
#[path = "../it/daemon.rs"]
#[allow(dead_code, reason = "a part of the harness is enough here")]
mod daemon;
#[path = "../it/every_gateway.rs"]
#[allow(dead_code, reason = "a part of the harness is enough here")]
mod every_gateway;
#[path = "../it/fakes.rs"]
#[allow(dead_code, reason = "a part of the harness is enough here")]
mod fakes;
mod judges;
#[path = "../it/redis_server.rs"]
#[allow(dead_code, reason = "a part of the harness is enough here")]
mod redis_server;
mod twilio;
#[path = "../it/wait.rs"]
#[allow(dead_code, reason = "a part of the harness is enough here")]
mod wait;

use std::collections::BTreeMap;

use serde_json::{Value, json};

use crate::{
    callbacks::{NEW, OLD, SignedCallback},
    judges::Judge,
};

const ACCEPTED: &str = "accepted";
const REFUSED: &str = "refused";

/// One question to a library, and the answer it must give.
struct Claim {
    name: String,
    secret: &'static str,
    callback: SignedCallback,
    expected: &'static str,
}

impl Claim {
    fn json(&self) -> Value {
        let SignedCallback { id, timestamp, signature, body, .. } = &self.callback;
        let headers =
            json!({ "webhook-id": id, "webhook-timestamp": timestamp.to_string(), "webhook-signature": signature });
        json!({ "secret": self.secret, "headers": headers, "body": body })
    }
}

/// The six cells, and every accepted one with each signed part changed.
fn claims(callbacks: &[SignedCallback]) -> Vec<Claim> {
    let mut claims = Vec::new();
    for callback in callbacks {
        for (held, secret) in [("old", OLD), ("new", NEW)] {
            let name = format!("signed with {}, held {held}", callback.state.name);
            let genuine = callback.state.secrets.contains(&secret);
            if genuine {
                for (part, changed) in callback.changed() {
                    let name = format!("{name}, {part} changed");
                    claims.push(Claim { name, secret, callback: changed, expected: REFUSED });
                }
            }
            let expected = if genuine { ACCEPTED } else { REFUSED };
            claims.push(Claim { name, secret, callback: callback.clone(), expected });
        }
    }
    claims
}

fn judge(callbacks: &[SignedCallback]) {
    let claims = claims(callbacks);
    let expected: BTreeMap<&str, &str> = claims.iter().map(|claim| (claim.name.as_str(), claim.expected)).collect();
    assert_eq!(expected.len(), 6 + 4 * 3);
    assert_eq!(expected.values().filter(|verdict| **verdict == ACCEPTED).count(), 4);
    let lines: Vec<Value> = claims.iter().map(Claim::json).collect();
    for judge in Judge::all() {
        let verdicts = judge.verdicts(&lines);
        assert_eq!(verdicts.len(), claims.len(), "{judge:?}");
        let names = claims.iter().map(|claim| claim.name.as_str());
        let seen: BTreeMap<&str, &str> = names.zip(verdicts.iter().map(String::as_str)).collect();
        assert_eq!(seen, expected, "{judge:?}");
    }
}

#[test]
fn a_signed_body_is_accepted_in_four_cells_of_six() {
    judge(&callbacks::signed());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_callback_of_the_daemon_is_accepted_in_four_cells_of_six() {
    judge(&callbacks::delivered().await);
}
