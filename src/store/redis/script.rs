//! The Lua scripts, and how they are called.

use std::sync::LazyLock;

use redis::{Cmd, RedisResult, Script, aio::MultiplexedConnection};

/// A script. Scripts move bytes and know no rule of the protocol.
pub(super) struct Lua(LazyLock<Script>);

macro_rules! lua {
    ($flags:literal, $file:literal) => {
        Lua(LazyLock::new(|| Script::new(concat!("#!lua", $flags, "\n", include_str!(concat!("scripts/", $file))))))
    };
}

/// Starts new work; a full Redis refuses it.
pub(super) static COMMIT_NEW: Lua = lua!("", "commit.lua");
/// Finishes accepted work; runs on a full Redis too.
pub(super) static COMMIT_OLD: Lua = lua!(" flags=allow-oom", "commit.lua");
pub(super) static LEASE: Lua = lua!(" flags=allow-oom", "lease.lua");
pub(super) static LEASE_TIMERS: Lua = lua!(" flags=allow-oom", "lease_timers.lua");
pub(super) static SETTLE_TIMER: Lua = lua!(" flags=allow-oom", "settle_timer.lua");
/// Runs on a full Redis too: accepted work must not be lost with its worker.
pub(super) static RECLAIM: Lua = lua!(" flags=allow-oom", "reclaim.lua");
pub(super) static SETTLE: Lua = lua!(" flags=allow-oom", "settle.lua");
pub(super) static REPLAY: Lua = lua!(" flags=allow-oom", "replay.lua");
/// Runs on a full Redis too: it only frees memory.
pub(super) static REMOVE: Lua = lua!(" flags=allow-oom", "remove.lua");
pub(super) static TAKE: Lua = lua!(" flags=allow-oom", "take.lua");
pub(super) static RESERVE: Lua = lua!("", "reserve.lua");
pub(super) static COUNT: Lua = lua!("", "count.lua");
pub(super) static DUE: Lua = lua!(" flags=no-writes", "due.lua");

static BARRIER: Lua = lua!(" flags=allow-oom", "barrier.lua");
/// How long a barrier is kept, in milliseconds.
const BARRIER_MEMORY: u32 = 60_000;

static ALL: [&Lua; 14] = [
    &BARRIER,
    &COMMIT_NEW,
    &COMMIT_OLD,
    &LEASE,
    &LEASE_TIMERS,
    &SETTLE_TIMER,
    &RECLAIM,
    &SETTLE,
    &REPLAY,
    &REMOVE,
    &TAKE,
    &RESERVE,
    &COUNT,
    &DUE,
];

impl Lua {
    /// `EVALSHA` with the declared keys; the caller adds the arguments.
    pub(super) fn call(&self, keys: &[String]) -> Cmd {
        // Enough for the arguments of one commit, so that nothing grows on the way.
        let mut cmd = Cmd::with_capacity(keys.len() + 40, 2048);
        cmd.arg("EVALSHA").arg(self.0.get_hash()).arg(keys.len()).arg(keys);
        cmd
    }
}

/// A write without effect to the slot that `cmd` reads from. `None` for a command without a partition's key.
pub(super) fn barrier_beside(cmd: &Cmd) -> Option<Cmd> {
    let slot = cmd.args_iter().find_map(|arg| match arg {
        redis::Arg::Simple(key) => std::str::from_utf8(key).ok()?.split_once('}'),
        _ => None,
    });
    let mut cmd = BARRIER.call(&[format!("{}}}:wait", slot?.0)]);
    cmd.arg(BARRIER_MEMORY);
    Some(cmd)
}

/// Fills the script cache, which is empty after a restart or a fail-over.
pub(super) async fn load_all(connection: &mut MultiplexedConnection) -> RedisResult<()> {
    for lua in ALL {
        lua.0.load_async(connection).await?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    #[test]
    fn scripts_state_their_contract_and_know_no_state() {
        for source in [
            include_str!("scripts/barrier.lua"),
            include_str!("scripts/commit.lua"),
            include_str!("scripts/count.lua"),
            include_str!("scripts/due.lua"),
            include_str!("scripts/lease.lua"),
            include_str!("scripts/reclaim.lua"),
            include_str!("scripts/remove.lua"),
            include_str!("scripts/replay.lua"),
            include_str!("scripts/reserve.lua"),
            include_str!("scripts/lease_timers.lua"),
            include_str!("scripts/settle_timer.lua"),
            include_str!("scripts/settle.lua"),
            include_str!("scripts/take.lua"),
        ] {
            let header = source.lines().take_while(|line| line.starts_with("--")).collect::<Vec<_>>().join("\n");
            for part in ["KEYS", "ARGV", "->"] {
                assert!(header.contains(part), "{header}");
            }
            let code: String = source.lines().filter(|line| !line.trim_start().starts_with("--")).collect();
            assert!(!code.contains(';'), "one statement a line: {header}");
            for state in ["pending", "verified", "expired", "canceled"] {
                assert!(!code.contains(state), "a script knows the state {state}");
            }
        }
    }
}
