-- Version 2: what language models decide. It is run on a store of version 1, and behind schema.sql on a new one.

-- Whether a job to find facts is also to decide how they relate to stored ones.
ALTER TABLE jobs ADD COLUMN evolves INTEGER NOT NULL DEFAULT 1 CHECK (evolves IN (0, 1));

-- How a saying relates to an earlier or later one, as a model decided. A decision for `update` or `contradict` between
-- two slots ends the slot of the one that is true earlier where the other one begins.
CREATE TABLE decisions (
    decision   INTEGER PRIMARY KEY,
    id         TEXT NOT NULL UNIQUE,
    seq        INTEGER NOT NULL,
    user       TEXT NOT NULL,
    sighting   INTEGER NOT NULL REFERENCES sightings (sighting), -- the one that was new
    other      INTEGER NOT NULL REFERENCES sightings (sighting),
    type       TEXT NOT NULL,
    reason     TEXT NOT NULL,
    confidence REAL NOT NULL,
    created_at INTEGER NOT NULL,
    closes     INTEGER REFERENCES slots (slot), -- the slot that it ends, if it ends one
    closes_at  INTEGER,                         -- when: the time of the later saying,
    closes_seq INTEGER,                         -- and its seq, for sayings of that same time
    CHECK (sighting <> other),
    CHECK ((closes IS NULL) = (closes_at IS NULL) AND (closes IS NULL) = (closes_seq IS NULL)),
    UNIQUE (sighting, other, type)
) STRICT;
CREATE INDEX decisions_feed ON decisions (user, seq);
CREATE INDEX decisions_other ON decisions (other);
CREATE INDEX decisions_closes ON decisions (closes, closes_at, closes_seq) WHERE closes IS NOT NULL;

-- The decision that a relation stands for; null for what follows from the chain of a slot.
ALTER TABLE evolutions ADD COLUMN decision INTEGER REFERENCES decisions (decision);
CREATE INDEX evolutions_decision ON evolutions (decision) WHERE decision IS NOT NULL;

-- Who feeds an index beside the ledger, and what it needs of the ledger.

CREATE TABLE feeders ( -- at most one row
    name         TEXT PRIMARY KEY,
    fence        INTEGER NOT NULL, -- counts the takings: who has a smaller number writes no more
    place        TEXT,             -- which of the index's tables is read
    lease_until  INTEGER,
    lease_holder TEXT
) STRICT, WITHOUT ROWID;

-- The feed of all tenants, and the turns around a turn.
CREATE INDEX episodes_seq ON episodes (seq);
CREATE INDEX versions_seq ON versions (seq);
CREATE INDEX deletions_seq ON deletions (seq);
CREATE INDEX episodes_session ON episodes (user, session, at, id) WHERE session <> '';
