//! Checks whether a Redis is fit to hold logins, and describes it for operators.

use std::collections::HashMap;

use super::Durability;
use crate::store::{StoreDescription, StoreError};

/// Tolerated difference between the masters' clocks, beyond the time it takes to ask them all.
const MAX_CLOCK_DRIFT_US: u64 = 500_000;

/// The name of a master (empty for a single one), and its `INFO` or the error in place of it.
pub(super) type NodeInfo = (String, Result<String, StoreError>);

/// Returns an error for a configuration that would lose logins silently, and warnings for one that is unwise.
pub(super) fn check_all(masters: &[NodeInfo], durability: Durability) -> Result<Vec<String>, StoreError> {
    let mut warnings = Vec::new();
    let mut times = Vec::new();
    for (name, info) in masters {
        let at = |why: String| if name.is_empty() { why } else { format!("{why} (at {name})") };
        let checked = info.clone().and_then(|info| {
            times.extend(fields(&info).get("server_time_usec").and_then(|time| time.parse::<u64>().ok()));
            check(&info, durability)
        });
        match checked {
            Ok(found) => warnings.extend(found.into_iter().map(at)),
            Err(StoreError::Unavailable(why)) => return Err(StoreError::Unavailable(at(why))),
            Err(StoreError::Misconfigured(why)) => return Err(StoreError::Misconfigured(at(why))),
            Err(other) => return Err(other),
        }
    }
    let apart = times.iter().max().zip(times.iter().min()).map_or(0, |(last, first)| last - first);
    if apart > MAX_CLOCK_DRIFT_US {
        warnings.push(format!(
            "the clocks of the cluster's masters are {} ms apart: what expires does so by the clock of its master; let \
             them keep the same time",
            apart / 1000
        ));
    }
    Ok(warnings)
}

/// Describes all masters; memory figures are those of the fullest.
pub(super) fn describe_all(masters: Vec<NodeInfo>, durability: Durability) -> Result<StoreDescription, StoreError> {
    let mut all = StoreDescription::default();
    for info in masters.iter().filter_map(|(_, info)| info.as_ref().ok()) {
        let fields = fields(info);
        let number = |name: &str| fields.get(name).and_then(|text| text.parse::<u64>().ok()).unwrap_or(0);
        let used = number("used_memory");
        let limit = Some(number("maxmemory")).filter(|limit| *limit > 0).unwrap_or(number("total_system_memory"));
        if u128::from(used) * u128::from(all.limit_bytes.max(1)) >= u128::from(all.used_bytes) * u128::from(limit) {
            (all.used_bytes, all.limit_bytes) = (used, limit);
        }
        let confirmed = durability == Durability::Standard || number("connected_slaves") > 0;
        all.replicas_missing += usize::from(!confirmed);
    }
    all.text = describe_each(masters, durability)?;
    Ok(all)
}

/// Addresses of the masters' replicas, and of a replica's master.
pub(super) fn addresses(masters: &[NodeInfo]) -> Vec<(String, u16)> {
    let mut addresses = Vec::new();
    for fields in masters.iter().filter_map(|(_, info)| info.as_deref().ok()).map(fields) {
        let address = |host: Option<&&str>, port: Option<&&str>| Some((host?.to_string(), port?.parse().ok()?));
        addresses.extend(address(fields.get("master_host"), fields.get("master_port")));
        for (_, replica) in fields.iter().filter(|(name, _)| {
            name.strip_prefix("slave").is_some_and(|number| number.bytes().all(|byte| byte.is_ascii_digit()))
        }) {
            let pairs: HashMap<&str, &str> = replica.split(',').filter_map(|pair| pair.split_once('=')).collect();
            addresses.extend(address(pairs.get("ip"), pairs.get("port")));
        }
    }
    addresses
}

/// One line for operators.
fn describe_each(masters: Vec<NodeInfo>, durability: Durability) -> Result<String, StoreError> {
    let describe = |info: &str| describe(info, durability);
    if let [(name, _)] = masters.as_slice()
        && name.is_empty()
    {
        return masters.into_iter().next().map_or(Ok(String::new()), |(_, info)| info.map(|info| describe(&info)));
    }
    let lines = masters.iter().map(|(name, info)| match info {
        Ok(info) => format!("{name}: {}", describe(info)),
        Err(error) => format!("{name}: {error}"),
    });
    Ok(format!("Redis Cluster of {} masters; {}", masters.len(), lines.collect::<Vec<_>>().join("; ")))
}

fn fields(info: &str) -> HashMap<&str, &str> {
    info.lines().filter_map(|line| line.trim_end().split_once(':')).collect()
}

/// The name and the version of the server. Valkey also reports the version of Redis that it is compatible with.
fn product<'a>(fields: &HashMap<&str, &'a str>) -> (&'static str, &'a str) {
    match fields.get("valkey_version") {
        Some(version) => ("Valkey", version),
        None => ("Redis", fields.get("redis_version").copied().unwrap_or("?")),
    }
}

/// Checks the `INFO` of one master.
fn check(info: &str, durability: Durability) -> Result<Vec<String>, StoreError> {
    let fields = fields(info);
    let field = |name: &str| fields.get(name).copied().unwrap_or_default();
    let major: u32 = field("redis_version").split('.').next().and_then(|major| major.parse().ok()).unwrap_or(0);
    if major < 7 {
        let version = field("redis_version");
        return Err(StoreError::Misconfigured(format!(
            "store.url: Redis {version} is too old; 7.0 or newer is needed"
        )));
    }
    let (name, _) = product(&fields);
    let policy = field("maxmemory_policy");
    if !policy.is_empty() && policy != "noeviction" {
        return Err(StoreError::Misconfigured(format!(
            "store.url: {name} has maxmemory-policy {policy}, which deletes live codes and unsent callbacks when memory \
             is short; set `maxmemory-policy noeviction`"
        )));
    }
    let mut warnings = Vec::new();
    if field("aof_enabled") == "0" {
        warnings.push(format!(
            "{name} has no append-only file: a crash of {name} loses the last writes; set `appendonly yes`"
        ));
    }
    if field("connected_slaves") == "0" && durability != Durability::Standard {
        warnings.push(format!(
            "{name} has no replica that could confirm a write: every write will be refused, unless store.durability is \
             \"standard\""
        ));
    }
    if let Some(replicas @ 2..) = field("connected_slaves").parse().ok()
        && durability == Durability::Durable
    {
        warnings.push(format!(
            "a write counts when one of {replicas} replicas has it: a planned fail-over to another one may lose what was \
             written during it; with store.confirm = \"all\" it loses nothing, and a replica that breaks down is a pause"
        ));
    }
    if field("role") == "slave" {
        warnings.push("store.url points to a replica; writes will be refused until it is promoted".to_owned());
    }
    Ok(warnings)
}

/// Describes one master by its `INFO`.
fn describe(info: &str, durability: Durability) -> String {
    let fields = fields(info);
    let (name, version) = product(&fields);
    let field = |name: &str| fields.get(name).copied().unwrap_or("?");
    let file = match (field("aof_enabled"), field("aof_last_write_status")) {
        ("1", "ok") => "append-only file",
        ("1", _) => "append-only file FAILING",
        _ => "no append-only file",
    };
    let limit = match field("maxmemory_human") {
        "0B" | "?" => String::new(),
        limit => format!(" of {limit}"),
    };
    format!(
        "{name} {version}, {}, {} replicas{}, {}{limit} used, {file}",
        field("role"),
        field("connected_slaves"),
        confirmers(field("connected_slaves"), durability),
        field("used_memory_human"),
    )
}

/// Which replicas must have a write before it is reported as applied.
fn confirmers(replicas: &str, durability: Durability) -> &'static str {
    match (durability, replicas) {
        (Durability::Standard, _) | (_, "0" | "?") => "",
        (Durability::Durable, "1") | (Durability::AllReplicas, _) => " (all confirm each write)",
        (Durability::Durable, _) => " (one confirms each write)",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn valkey_is_called_by_its_name() {
        let info =
            "redis_version:7.2.4\r\nserver_name:valkey\r\nvalkey_version:8.1.1\r\nrole:master\r\naof_enabled:0\r\n";
        assert!(describe(info, Durability::Standard).starts_with("Valkey 8.1.1, master, "));
        assert!(check(info, Durability::Standard).unwrap()[0].starts_with("Valkey has no append-only file"));
    }

    #[test]
    fn eviction_and_old_servers_are_refused() {
        let good = "redis_version:7.0.15\r\nmaxmemory_policy:noeviction\r\naof_enabled:1\r\nrole:master\r\n";
        assert_eq!(check(good, Durability::Standard).unwrap(), Vec::<String>::new());
        assert!(check(&good.replace("noeviction", "allkeys-lru"), Durability::Standard).is_err());
        assert!(check(&good.replace("7.0", "6.2"), Durability::Standard).is_err());
        let alone = good.replace("role:master", "role:master\r\nconnected_slaves:0");
        assert_eq!(check(&alone, Durability::Standard).unwrap().len(), 0);
        assert_eq!(check(&alone, Durability::AllReplicas).unwrap().len(), 1);
        assert_eq!(check(&good.replace("enabled:1", "enabled:0"), Durability::Standard).unwrap().len(), 1);
        let info = format!("{good}connected_slaves:2\r\nused_memory_human:1.50M\r\naof_last_write_status:err\r\n");
        let text = describe(&info, Durability::Standard);
        assert_eq!(text, "Redis 7.0.15, master, 2 replicas, 1.50M used, append-only file FAILING");
    }

    #[test]
    fn replicas_are_found_where_their_master_says() {
        let master = "role:master\r\nconnected_slaves:2\r\nslave0:ip=10.0.0.2,port=6379,state=online,offset=1,lag=0\r\n\
                      slave1:ip=fd00::2,port=6380,state=online\r\nslave_read_repl_offset:1\r\n";
        let replica = "role:slave\r\nmaster_host:redis-0.example\r\nmaster_port:6379\r\n";
        let infos = [("a".to_owned(), Ok(master.to_owned())), ("b".to_owned(), Ok(replica.to_owned()))];
        let mut found = addresses(&infos);
        found.sort();
        let expected = [("10.0.0.2", 6379), ("fd00::2", 6380), ("redis-0.example", 6379)];
        assert_eq!(found, expected.map(|(host, port)| (host.to_owned(), port)));
    }

    #[test]
    fn it_is_said_who_confirms() {
        let with = |replicas: u32, durability| {
            let info = format!("redis_version:7.0.15\r\nrole:master\r\nconnected_slaves:{replicas}\r\n");
            let warned = check(&info, durability).unwrap().iter().any(|text| text.contains("store.confirm = \"all\""));
            (describe(&info, durability), warned)
        };
        let (one, all) = ("(one confirms each write)", "(all confirm each write)");
        for (replicas, durability, said, warns) in [
            (1, Durability::Durable, Some(all), false),
            (2, Durability::Durable, Some(one), true),
            (2, Durability::AllReplicas, Some(all), false),
            (0, Durability::Durable, None, false),
            (2, Durability::Standard, None, false),
        ] {
            let (text, warned) = with(replicas, durability);
            let expected = said.map_or_else(|| "replicas,".to_owned(), |said| format!("replicas {said},"));
            assert!(text.contains(&expected), "{text}");
            assert_eq!(warned, warns, "{replicas} {durability:?}");
        }
    }

    #[test]
    fn the_fullest_master_counts_and_so_does_each_without_a_replica() {
        let info = |used: u64, limit: u64, replicas: u64| {
            Ok(format!(
                "used_memory:{used}\r\nmaxmemory:{limit}\r\nconnected_slaves:{replicas}\r\ntotal_system_memory:900\r\n"
            ))
        };
        let masters = vec![("a:1".to_owned(), info(80, 100, 1)), ("b:2".to_owned(), info(90, 1000, 0))];
        let all = describe_all(masters.clone(), Durability::Durable).unwrap();
        assert_eq!((all.used_bytes, all.limit_bytes, all.replicas_missing), (80, 100, 1));
        assert_eq!(describe_all(masters, Durability::Standard).unwrap().replicas_missing, 0);
        let unlimited = describe_all(vec![(String::new(), info(9, 0, 1))], Durability::Durable).unwrap();
        assert_eq!((unlimited.used_bytes, unlimited.limit_bytes), (9, 900), "the host's memory is the limit");
    }

    #[test]
    fn each_fault_of_a_cluster_is_named_with_its_node() {
        let good = "redis_version:7.0.15\r\nmaxmemory_policy:noeviction\r\naof_enabled:1\r\nrole:master\r\n\
                    server_time_usec:1000000\r\n";
        let cluster =
            |second: &str| vec![("a:1".to_owned(), Ok(good.to_owned())), ("b:2".to_owned(), Ok(second.to_owned()))];
        assert_eq!(check_all(&cluster(good), Durability::Durable).unwrap(), Vec::<String>::new());
        let refused = check_all(&cluster(&good.replace("noeviction", "allkeys-lru")), Durability::Durable)
            .unwrap_err()
            .to_string();
        assert!(refused.contains("allkeys-lru") && refused.ends_with("(at b:2)"), "{refused}");
        let warned = check_all(&cluster(&good.replace("enabled:1", "enabled:0")), Durability::Durable).unwrap();
        assert!(matches!(&warned[..], [one] if one.ends_with("(at b:2)")), "{warned:?}");
        let apart = check_all(&cluster(&good.replace("1000000", "3000000")), Durability::Durable).unwrap();
        assert!(matches!(&apart[..], [one] if one.contains("2000 ms apart")), "{apart:?}");
        let mut away = cluster(good);
        away[1].1 = Err(StoreError::Unavailable("no server".to_owned()));
        let text = describe_all(away.clone(), Durability::Durable).unwrap().text;
        assert!(text.starts_with("Redis Cluster of 2 masters; a:1: Redis 7.0.15, master"), "{text}");
        assert!(text.contains("b:2: the store is unavailable: no server"), "{text}");
        assert!(check_all(&away, Durability::Durable).unwrap_err().to_string().contains("no server (at b:2)"));
    }
}
