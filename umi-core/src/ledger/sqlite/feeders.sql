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
