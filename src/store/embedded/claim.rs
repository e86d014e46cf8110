//! What the store remembers about itself.

use rusqlite::{Connection, OptionalExtension as _};

use crate::store::StoreError;

const FORMAT: &str = "2";
const KEY: &str = "key:";

pub(super) fn check(format: Option<&str>) -> Result<(), StoreError> {
    match format {
        Some(format) if format != FORMAT => Err(StoreError::Unfit(format!(
            "the store has format {format}, this version knows format {FORMAT}: use the version that made it, or start with \
             an empty one"
        ))),
        _ => Ok(()),
    }
}

/// `None` of a new database.
pub(super) fn format(connection: &Connection) -> rusqlite::Result<Option<String>> {
    if !connection.table_exists(None, "meta")? {
        return Ok(None);
    }
    connection.query_row("SELECT value FROM meta WHERE key = 'format'", [], |row| row.get(0)).optional()
}

pub(super) fn claim(connection: &Connection, fingerprints: &[String]) -> Result<(), StoreError> {
    let format = format(connection)?;
    check(format.as_deref())?;
    match format {
        Some(_) => {
            let known = known(connection)?;
            if !fingerprints.iter().any(|ours| known.contains(ours)) {
                let known: Vec<&str> = known.iter().map(|key| key.get(..8).unwrap_or(key)).collect();
                return Err(StoreError::Unfit(format!(
                    "the store was made with other keys: configure one whose fingerprint begins with {}",
                    known.join(" or ")
                )));
            }
        }
        None => {
            connection.execute("INSERT INTO meta (key, value) VALUES ('format', ?1)", [FORMAT])?;
        }
    }
    for fingerprint in fingerprints {
        connection
            .execute("INSERT OR IGNORE INTO meta (key, value) VALUES (?1, '')", [format!("{KEY}{fingerprint}")])?;
    }
    Ok(())
}

/// Counts, because SQLite does not write a page that stays the same.
pub(super) fn probe(connection: &Connection) -> rusqlite::Result<()> {
    connection
        .prepare_cached(
            "INSERT INTO meta (key, value) VALUES ('probes', '1')
             ON CONFLICT (key) DO UPDATE SET value = CAST(CAST(value AS INTEGER) + 1 AS TEXT)",
        )?
        .execute([])?;
    Ok(())
}

fn known(connection: &Connection) -> rusqlite::Result<Vec<String>> {
    let mut keys = connection.prepare("SELECT substr(key, 5) FROM meta WHERE key >= 'key:' AND key < 'key;'")?;
    keys.query_map([], |row| row.get(0))?.collect()
}
