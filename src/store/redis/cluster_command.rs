//! A command on its way to the master of its slot.

use redis::{Cmd, ErrorKind, RedisError, ServerErrorKind, Value};

use super::{connection::Repeat, seed_nodes::NodeAddress, slot};

pub(super) struct ClusterCommand<'a> {
    cmd: &'a Cmd,
    pub(super) slot: u16,
    /// Where a master sent us, for this command alone.
    pub(super) redirection: Option<Redirection>,
    /// It changes nothing, and what it reads must be confirmed.
    pub(super) reads: bool,
    repeat: Repeat,
    /// It may have been done.
    again: bool,
    value: Option<Value>,
}

pub(super) struct Redirection {
    pub(super) to: NodeAddress,
    /// The slot is on its way there: only who says so is served.
    asking: bool,
}

impl<'a> ClusterCommand<'a> {
    pub(super) fn new(cmd: &'a Cmd) -> Self {
        let (slot, repeat) = (slot::of_command(cmd), Repeat::Same);
        Self { cmd, slot, redirection: None, reads: false, repeat, again: false, value: None }
    }

    pub(super) fn writing(cmd: &'a Cmd, repeat: Repeat) -> Self {
        Self { repeat, ..Self::new(cmd) }
    }

    pub(super) fn reading(cmd: &'a Cmd) -> Self {
        Self { reads: true, ..Self::new(cmd) }
    }

    /// What is sent this time.
    pub(super) fn command(&self) -> Cmd {
        self.repeat.of(self.cmd, self.again)
    }

    /// It may have been done. Whether it can be sent again.
    pub(super) fn mark_sent(&mut self) -> bool {
        self.again = true;
        self.repeat != Repeat::Never
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
    /// `None` unless `error`, of the master at `teller`, names another one.
    pub(super) fn from_error(error: &RedisError, teller: &NodeAddress) -> Option<Self> {
        let (to, _) = error.redirect_node()?;
        let asking = error.kind() == ErrorKind::Server(ServerErrorKind::Ask);
        Some(Self { to: NodeAddress::parse_reported(to, teller)?, asking })
    }
}
