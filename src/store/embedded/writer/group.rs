//! One transaction for a group of writes.

use rusqlite::{Connection, Transaction, TransactionBehavior};

use super::{
    super::{ballast::Ballast, error::is_full, time::MonotonicWallClock, upkeep::Upkeep},
    MAX_GROUP,
    step::{BoxedStep, StepOutcome},
};

/// The outcome of a transaction.
#[derive(Clone, Copy, PartialEq, Eq)]
enum TransactionOutcome {
    Committed,
    /// It was rolled back because a step failed.
    StepFailed,
    /// SQLite rolled it back itself, as it may when the disk is full.
    RolledBack,
}

/// How the steps of a group share a transaction.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Isolation {
    /// The first failure ends the transaction.
    None,
    /// A step that fails is undone, the others are kept. SQLite copies every page that a step changes.
    Savepoints,
}

/// Applies a group and sends each caller its result. Returns `false` if it was not committed.
///
/// Steps rarely fail, so the group runs without savepoints at first, and with them only if a step has failed.
pub(super) fn commit_group(
    connection: &mut Connection,
    mut group: Vec<BoxedStep>,
    time: &MonotonicWallClock,
    mut upkeep: Option<&mut Upkeep>,
    ballast: &mut Ballast,
) -> rusqlite::Result<bool> {
    let mut outcome = run(connection, &mut group, Isolation::None, time, upkeep.as_deref_mut(), ballast);
    if matches!(outcome, Ok(TransactionOutcome::StepFailed)) {
        outcome = run(connection, &mut group, Isolation::Savepoints, time, upkeep, ballast);
    }
    // Before any caller of the group learns that it failed.
    if outcome.as_ref().is_err_and(is_full) {
        ballast.release();
    }
    let committed = outcome? == TransactionOutcome::Committed;
    if committed {
        for operation in group {
            operation.send_result();
        }
    } else {
        tracing::warn!("SQLite rolled back a group of writes");
    }
    Ok(committed)
}

fn run(
    connection: &mut Connection,
    group: &mut [BoxedStep],
    isolation: Isolation,
    time: &MonotonicWallClock,
    upkeep: Option<&mut Upkeep>,
    ballast: &mut Ballast,
) -> rusqlite::Result<TransactionOutcome> {
    let mut transaction = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
    for operation in group {
        let effect = match isolation {
            Isolation::None => operation.run(&transaction, time.millis()),
            Isolation::Savepoints => run_in_savepoint(&mut transaction, operation, time)?,
        };
        if effect == StepOutcome::Full {
            ballast.release();
        }
        if isolation == Isolation::None && effect != StepOutcome::Applied {
            return Ok(TransactionOutcome::StepFailed);
        }
        if transaction.is_autocommit() {
            return Ok(TransactionOutcome::RolledBack);
        }
    }
    if let Some(upkeep) = upkeep {
        upkeep.trim(&transaction, time.millis(), MAX_GROUP)?;
    }
    transaction.commit()?;
    Ok(TransactionOutcome::Committed)
}

fn run_in_savepoint(
    transaction: &mut Transaction,
    operation: &mut BoxedStep,
    time: &MonotonicWallClock,
) -> rusqlite::Result<StepOutcome> {
    let savepoint = transaction.savepoint()?;
    let effect = operation.run(&savepoint, time.millis());
    if effect == StepOutcome::Applied {
        savepoint.commit()?;
    }
    Ok(effect)
}
