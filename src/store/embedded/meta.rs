//! The store's metadata.

use std::collections::HashMap;

use rusqlite::{Connection, OptionalExtension as _};

use crate::store::StoreError;

pub(super) const FORMAT: &str = "2";

pub(super) fn meta(connection: &Connection) -> rusqlite::Result<HashMap<String, String>> {
    let mut rows = connection.prepare_cached("SELECT key, value FROM meta WHERE key != 'probes'")?;
    rows.query_map([], |row| Ok((row.get(0)?, row.get(1)?)))?.collect()
}

pub(super) fn check(format: Option<&str>) -> Result<(), StoreError> {
    match format {
        Some(format) if format != FORMAT => Err(StoreError::Misconfigured(format!(
            "the store has format {format}, this version knows format {FORMAT}: use the version that made it, or start with \
             an empty one"
        ))),
        _ => Ok(()),
    }
}

/// `None` for a new database.
pub(super) fn format(connection: &Connection) -> rusqlite::Result<Option<String>> {
    if !connection.table_exists(None, "meta")? {
        return Ok(None);
    }
    connection.query_row("SELECT value FROM meta WHERE key = 'format'", [], |row| row.get(0)).optional()
}

/// Returns whether the format must still be written.
pub(super) fn lacks_format(meta: &mut HashMap<String, String>) -> Result<bool, StoreError> {
    let format = meta.remove("format");
    check(format.as_deref())?;
    Ok(format.is_none())
}

pub(super) fn set(connection: &Connection, name: &str, value: &str, replace: bool) -> Result<(), StoreError> {
    let verb = if replace { "REPLACE" } else { "IGNORE" };
    let sql = format!("INSERT OR {verb} INTO meta (key, value) VALUES (?1, ?2)");
    connection.prepare_cached(&sql)?.execute([name, value])?;
    Ok(())
}

/// Writes a counter, because SQLite does not write a page that is unchanged.
pub(super) fn probe(connection: &Connection) -> rusqlite::Result<()> {
    connection
        .prepare_cached(
            "INSERT INTO meta (key, value) VALUES ('probes', '1')
             ON CONFLICT (key) DO UPDATE SET value = CAST(CAST(value AS INTEGER) + 1 AS TEXT)",
        )?
        .execute([])?;
    Ok(())
}
