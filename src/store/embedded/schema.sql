-- Times are milliseconds of the store's time. What carries a time to end has an index on it, for `trim`.

CREATE TABLE IF NOT EXISTS meta (
  key TEXT PRIMARY KEY,
  value TEXT NOT NULL
) STRICT, WITHOUT ROWID;

-- A record is found by the last ten bytes of its id; `head` are those before. `rings_at` is its timer; of one that
-- is in the hands of a worker the end of the lease, with a minus. Records lie in the order in which they were made, so
-- that those of one time share pages; only the index on the locator is in random order.
CREATE TABLE IF NOT EXISTS records (
  seq INTEGER PRIMARY KEY,
  locator BLOB NOT NULL UNIQUE,
  head BLOB NOT NULL,
  partition INTEGER NOT NULL,
  version INTEGER NOT NULL,
  retain_until INTEGER NOT NULL,
  rings_at INTEGER,
  bytes BLOB NOT NULL
) STRICT;
CREATE INDEX IF NOT EXISTS records_end ON records (retain_until);
CREATE INDEX IF NOT EXISTS records_timer ON records (partition, rings_at) WHERE rings_at IS NOT NULL;
CREATE INDEX IF NOT EXISTS records_rung ON records (rings_at) WHERE rings_at < 0;

CREATE TABLE IF NOT EXISTS entries (
  list TEXT NOT NULL,
  created_at INTEGER NOT NULL,
  id BLOB NOT NULL,
  PRIMARY KEY (list, created_at, id)
) STRICT, WITHOUT ROWID;
CREATE INDEX IF NOT EXISTS entries_id ON entries (id);

CREATE TABLE IF NOT EXISTS messages (
  digest TEXT PRIMARY KEY,
  until INTEGER NOT NULL
) STRICT, WITHOUT ROWID;
CREATE INDEX IF NOT EXISTS messages_end ON messages (until);

-- A job that has ended, dead or delivered, keeps its row for a while, so that its id stays taken.
CREATE TABLE IF NOT EXISTS jobs (
  seq INTEGER PRIMARY KEY,
  partition INTEGER NOT NULL,
  id TEXT NOT NULL,
  instance TEXT NOT NULL,
  lane TEXT NOT NULL,
  due INTEGER NOT NULL,
  leased INTEGER NOT NULL,
  fence INTEGER NOT NULL,
  attempts INTEGER NOT NULL DEFAULT 0,
  -- Leases in a row that were not settled, with the one under way.
  lapsed INTEGER NOT NULL DEFAULT 0,
  since INTEGER NOT NULL,
  died INTEGER,
  delivered INTEGER NOT NULL DEFAULT 0,
  note TEXT NOT NULL DEFAULT '',
  body BLOB NOT NULL,
  UNIQUE (partition, id)
) STRICT;
CREATE INDEX IF NOT EXISTS jobs_due ON jobs (partition, lane, due) WHERE died IS NULL;
CREATE INDEX IF NOT EXISTS jobs_leased ON jobs (leased) WHERE leased = 1;
CREATE INDEX IF NOT EXISTS jobs_ended ON jobs (instance, delivered, died) WHERE died IS NOT NULL;
CREATE INDEX IF NOT EXISTS jobs_delivered ON jobs (died) WHERE delivered = 1;
CREATE INDEX IF NOT EXISTS jobs_waiting ON jobs (instance, due) WHERE died IS NULL AND lane >= 'c' AND lane < 'd';
CREATE INDEX IF NOT EXISTS jobs_end ON jobs (died) WHERE died IS NOT NULL;

CREATE TABLE IF NOT EXISTS holds (
  lane TEXT PRIMARY KEY,
  until INTEGER NOT NULL
) STRICT, WITHOUT ROWID;
CREATE INDEX IF NOT EXISTS holds_end ON holds (until);

-- `tat` is in microseconds; a bucket whose time has passed is full, like one that has no row.
CREATE TABLE IF NOT EXISTS buckets (
  partition INTEGER NOT NULL,
  name TEXT NOT NULL,
  tat INTEGER NOT NULL,
  PRIMARY KEY (partition, name)
) STRICT;
CREATE INDEX IF NOT EXISTS buckets_end ON buckets (tat);

CREATE TABLE IF NOT EXISTS reservations (
  key TEXT PRIMARY KEY,
  fingerprint TEXT NOT NULL,
  claim BLOB NOT NULL,
  until INTEGER NOT NULL
) STRICT, WITHOUT ROWID;
CREATE INDEX IF NOT EXISTS reservations_end ON reservations (until);

-- What processes said of themselves; read by people.
CREATE TABLE IF NOT EXISTS replicas (
  name TEXT PRIMARY KEY,
  at INTEGER NOT NULL,
  words TEXT NOT NULL
) STRICT, WITHOUT ROWID;

-- Counters of an instance; an hour is counted from the Unix epoch.
CREATE TABLE IF NOT EXISTS counters (
  instance TEXT NOT NULL,
  hour INTEGER NOT NULL,
  name TEXT NOT NULL,
  count INTEGER NOT NULL,
  PRIMARY KEY (instance, hour, name)
) STRICT;
CREATE INDEX IF NOT EXISTS counters_end ON counters (hour);

CREATE TABLE IF NOT EXISTS notes (
  seq INTEGER PRIMARY KEY,
  partition INTEGER NOT NULL,
  journal TEXT NOT NULL,
  at INTEGER NOT NULL,
  bytes BLOB NOT NULL
) STRICT;
CREATE INDEX IF NOT EXISTS notes_journal ON notes (journal, at);
CREATE INDEX IF NOT EXISTS notes_end ON notes (at);
