//! Hash slots of Redis Cluster.

use redis::{Arg, Cmd};

use super::key;
use crate::domain::Partition;

/// The slot of a key: a hash of the part within its first braces, or of the whole key.
pub(super) fn of(key: &[u8]) -> u16 {
    let tag = key.iter().position(|byte| *byte == b'{').and_then(|open| {
        let rest = &key[open + 1..];
        let close = rest.iter().position(|byte| *byte == b'}').filter(|close| *close > 0)?;
        Some(&rest[..close])
    });
    crc16(tag.unwrap_or(key)) % 16_384
}

/// The slot shared by a partition's keys.
pub(super) fn of_partition(partition: Partition) -> u16 {
    of(key::channel(partition).as_bytes())
}

/// The slot of a command's first key. All keys of a command lie in one partition, so the first decides; without a key
/// any slot will do.
pub(super) fn of_command(cmd: &Cmd) -> u16 {
    let mut words = cmd.args_iter().filter_map(|word| match word {
        Arg::Simple(word) => Some(word),
        _ => None,
    });
    let key = match words.next() {
        // EVALSHA's arguments begin with the script's hash and the number of keys.
        Some(b"EVALSHA") => words.nth(2),
        _ => words.next(),
    };
    key.map_or(0, of)
}

/// CRC-16/XMODEM.
fn crc16(bytes: &[u8]) -> u16 {
    bytes.iter().fold(0u16, |crc, byte| {
        (0..8).fold(crc ^ u16::from(*byte) << 8, |crc, _| if crc & 0x8000 == 0 { crc << 1 } else { crc << 1 ^ 0x1021 })
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn slots_are_those_of_the_specification() {
        assert_eq!(crc16(b"123456789"), 0x31c3, "the check value of the specification");
        assert_eq!(of(b"foo"), 12_182);
        assert_eq!(of(b"cs:{foo}:anything"), of(b"foo"));
        assert_eq!(of(b"a{foo}{bar}"), of(b"foo"));
        // Empty or unclosed braces are ordinary characters.
        assert_ne!(of(b"a{}{foo}"), of(b"foo"));
        assert_ne!(of(b"a{foo"), of(b"foo"));
    }

    #[test]
    fn the_first_key_of_a_command_decides() {
        let mut script = redis::cmd("EVALSHA");
        script.arg("0123").arg(2).arg("a{foo}").arg("b{foo}").arg("argument");
        assert_eq!(of_command(&script), of(b"foo"));
        assert_eq!(of_command(redis::cmd("GET").arg("foo")), of(b"foo"));
        assert_eq!(of_command(&redis::cmd("INFO")), 0);
    }
}
