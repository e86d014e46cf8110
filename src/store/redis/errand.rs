//! A command on its way to the master of its slot.

use redis::{Cmd, ErrorKind, RedisError, ServerErrorKind, Value};

use super::{connection::Repeat, seeds::Address, slot};

pub(super) struct Errand<'a> {
    cmd: &'a Cmd,
    pub(super) slot: u16,
    /// Where a master sent us, for this command alone.
    pub(super) detour: Option<Detour>,
    /// It changes nothing, and what it reads must be confirmed.
    pub(super) reads: bool,
    repeat: Repeat,
    /// It may have been done.
    again: bool,
    value: Option<Value>,
}

pub(super) struct Detour {
    pub(super) to: Address,
    /// The slot is on its way there: only who says so is served.
    asking: bool,
}

impl<'a> Errand<'a> {
    pub(super) fn new(cmd: &'a Cmd) -> Self {
        let (slot, repeat) = (slot::of_command(cmd), Repeat::Same);
        Self { cmd, slot, detour: None, reads: false, repeat, again: false, value: None }
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
    pub(super) fn was_sent(&mut self) -> bool {
        self.again = true;
        self.repeat != Repeat::Never
    }

    pub(super) fn asks(&self) -> bool {
        self.detour.as_ref().is_some_and(|detour| detour.asking)
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

impl Detour {
    /// `None` unless `error`, of the master at `teller`, names another one.
    pub(super) fn told_by(error: &RedisError, teller: &Address) -> Option<Self> {
        let (to, _) = error.redirect_node()?;
        let asking = error.kind() == ErrorKind::Server(ServerErrorKind::Ask);
        Some(Self { to: Address::told(to, teller)?, asking })
    }
}
