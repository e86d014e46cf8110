//! A command with the slot, and possibly the node, that it must be sent to.

use redis::{Cmd, ErrorKind, RedisError, ServerErrorKind, Value};

use super::{retries::ResendPolicy, seed_nodes::NodeAddress, slot};

pub(super) struct ClusterCommand<'a> {
    cmd: &'a Cmd,
    pub(super) slot: u16,
    /// The node that a master redirected this one command to.
    pub(super) redirection: Option<Redirection>,
    /// The command only reads, and what it reads must be confirmed.
    pub(super) reads: bool,
    resend_policy: ResendPolicy,
    /// An earlier attempt may have been applied.
    maybe_applied: bool,
    value: Option<Value>,
}

pub(super) struct Redirection {
    pub(super) to: NodeAddress,
    /// An `ASK` redirection: the slot is migrating, and the node serves it only after `ASKING`.
    asking: bool,
}

impl<'a> ClusterCommand<'a> {
    pub(super) fn new(cmd: &'a Cmd) -> Self {
        let (slot, resend_policy) = (slot::of_command(cmd), ResendPolicy::Same);
        Self { cmd, slot, redirection: None, reads: false, resend_policy, maybe_applied: false, value: None }
    }

    pub(super) fn writing(cmd: &'a Cmd, resend_policy: ResendPolicy) -> Self {
        Self { resend_policy, ..Self::new(cmd) }
    }

    pub(super) fn reading(cmd: &'a Cmd) -> Self {
        Self { reads: true, ..Self::new(cmd) }
    }

    /// The command for the next attempt.
    pub(super) fn command(&self) -> Cmd {
        self.resend_policy.of(self.cmd, self.maybe_applied)
    }

    /// Records that an attempt may have been applied. Returns whether the command may be resent.
    pub(super) fn mark_sent(&mut self) -> bool {
        self.maybe_applied = true;
        self.resend_policy != ResendPolicy::Never
    }

    pub(super) fn is_asking(&self) -> bool {
        self.redirection.as_ref().is_some_and(|detour| detour.asking)
    }

    pub(super) fn is_done(&self) -> bool {
        self.value.is_some()
    }

    pub(super) fn done(&mut self, value: Value) {
        self.value = Some(value);
    }

    pub(super) fn into_value(self) -> Option<Value> {
        self.value
    }
}

impl Redirection {
    /// `None` unless `error`, which the master at `reporter` returned, is a redirection.
    pub(super) fn from_error(error: &RedisError, reporter: &NodeAddress) -> Option<Self> {
        let (to, _) = error.redirect_node()?;
        let asking = error.kind() == ErrorKind::Server(ServerErrorKind::Ask);
        Some(Self { to: NodeAddress::parse_reported(to, reporter)?, asking })
    }
}
