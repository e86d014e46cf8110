//! What a Redis must be like before logins are entrusted to it.

use std::collections::HashMap;

use crate::store::StoreError;

/// Reads `INFO`. Refuses what would lose logins silently; the returned sentences only warn.
pub(super) fn judge(info: &str) -> Result<Vec<String>, StoreError> {
    let fields: HashMap<&str, &str> = info.lines().filter_map(|line| line.trim_end().split_once(':')).collect();
    let field = |name: &str| fields.get(name).copied().unwrap_or_default();
    let major: u32 = field("redis_version").split('.').next().and_then(|major| major.parse().ok()).unwrap_or(0);
    if major < 7 {
        let version = field("redis_version");
        return Err(StoreError::Unfit(format!("store.url: Redis {version} is too old; 7.0 or newer is needed")));
    }
    let policy = field("maxmemory_policy");
    if !policy.is_empty() && policy != "noeviction" {
        return Err(StoreError::Unfit(format!(
            "store.url: Redis has maxmemory-policy {policy}, which deletes live codes and unsent callbacks when memory \
             is short; set `maxmemory-policy noeviction`"
        )));
    }
    let mut warnings = Vec::new();
    if field("aof_enabled") == "0" {
        warnings.push(
            "Redis has no append-only file: a crash of Redis loses what it was told last; set `appendonly yes`"
                .to_owned(),
        );
    }
    if field("role") == "slave" {
        warnings.push("store.url points to a replica; writes will be refused until it is promoted".to_owned());
    }
    Ok(warnings)
}

/// Reads `INFO`. One line for people.
pub(super) fn describe(info: &str) -> String {
    let fields: HashMap<&str, &str> = info.lines().filter_map(|line| line.trim_end().split_once(':')).collect();
    let field = |name: &str| fields.get(name).copied().unwrap_or("?");
    let file = match (field("aof_enabled"), field("aof_last_write_status")) {
        ("1", "ok") => "append-only file",
        ("1", _) => "append-only file FAILING",
        _ => "no append-only file",
    };
    format!(
        "Redis {}, {}, {} replicas, {} used, {file}",
        field("redis_version"),
        field("role"),
        field("connected_slaves"),
        field("used_memory_human"),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn eviction_and_old_servers_are_refused() {
        let good = "redis_version:7.0.15\r\nmaxmemory_policy:noeviction\r\naof_enabled:1\r\nrole:master\r\n";
        assert_eq!(judge(good).unwrap(), Vec::<String>::new());
        assert!(judge(&good.replace("noeviction", "allkeys-lru")).is_err());
        assert!(judge(&good.replace("7.0", "6.2")).is_err());
        assert_eq!(judge(&good.replace("enabled:1", "enabled:0")).unwrap().len(), 1);
        let told =
            describe(&format!("{good}connected_slaves:2\r\nused_memory_human:1.50M\r\naof_last_write_status:err\r\n"));
        assert_eq!(told, "Redis 7.0.15, master, 2 replicas, 1.50M used, append-only file FAILING");
    }
}
