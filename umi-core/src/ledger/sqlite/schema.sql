-- The schema of an Umi store, version 1. To read one with the shell: sqlite3 umi.db 'SELECT * FROM facts_now'
--
-- Ids are UUIDs in lower case. Times are whole microseconds since 1970-01-01 UTC. A missing user, agent or session
-- is '' (SQL takes nulls as distinct). The first column of a table is its internal key. `seq` is the place in the
-- change feed: every change of a row takes the next number of the one row in `counter`.

CREATE TABLE counter (
    one  INTEGER PRIMARY KEY CHECK (one = 1),
    seq  INTEGER NOT NULL, -- the last number given
    core INTEGER NOT NULL  -- the seq of the last change of a core block
) STRICT;
INSERT INTO counter VALUES (1, 0, 0);

CREATE TABLE spaces ( -- embedding spaces: vectors of two spaces are never compared
    space      INTEGER PRIMARY KEY,
    model      TEXT NOT NULL,
    dimensions INTEGER NOT NULL,
    digest     TEXT NOT NULL,
    state      TEXT NOT NULL CHECK (state IN ('active', 'building')),
    UNIQUE (model, dimensions, digest)
) STRICT;
CREATE UNIQUE INDEX spaces_active ON spaces (state) WHERE state = 'active';

CREATE TABLE episodes ( -- what was said, verbatim
    episode     INTEGER PRIMARY KEY,
    id          TEXT NOT NULL UNIQUE,
    seq         INTEGER NOT NULL,
    user        TEXT NOT NULL,
    agent       TEXT NOT NULL,
    session     TEXT NOT NULL,
    role        TEXT NOT NULL,
    name        TEXT,
    text        TEXT NOT NULL,
    at          INTEGER NOT NULL,
    recorded_at INTEGER NOT NULL,
    source      TEXT,
    metadata    TEXT NOT NULL, -- a JSON object
    importance  REAL NOT NULL,
    key         TEXT,          -- the caller's idempotency key
    turn        INTEGER NOT NULL -- its place among the episodes of that key, from 0
) STRICT;
CREATE INDEX episodes_feed ON episodes (user, seq);
CREATE INDEX episodes_time ON episodes (user, at, seq);
CREATE UNIQUE INDEX episodes_key ON episodes (user, key, turn) WHERE key IS NOT NULL;

CREATE TABLE slots ( -- a subject's attribute, or one content of a subject; each has a chain of versions
    slot             INTEGER PRIMARY KEY,
    user             TEXT NOT NULL,
    type             TEXT NOT NULL,
    name_folded      TEXT NOT NULL,
    attribute_folded TEXT
) STRICT;
CREATE UNIQUE INDEX slots_attribute ON slots (user, type, name_folded, attribute_folded)
    WHERE attribute_folded IS NOT NULL;
CREATE INDEX slots_subject ON slots (user, type, name_folded);

CREATE TABLE versions ( -- facts: computed from the sightings of a slot, in order of time
    version          INTEGER PRIMARY KEY,
    id               TEXT NOT NULL UNIQUE,
    seq              INTEGER NOT NULL,
    slot             INTEGER NOT NULL REFERENCES slots (slot),
    said_seq         INTEGER NOT NULL, -- the seq of its first sighting: orders versions of one time
    user             TEXT NOT NULL,
    agent            TEXT NOT NULL,
    session          TEXT NOT NULL,
    type             TEXT NOT NULL,
    name             TEXT NOT NULL,
    name_folded      TEXT NOT NULL,
    attribute        TEXT,
    attribute_folded TEXT,
    content          TEXT NOT NULL,
    metadata         TEXT NOT NULL,
    confidence       REAL NOT NULL,
    importance       REAL NOT NULL,
    event_time       INTEGER,
    document_time    INTEGER,
    source           TEXT,
    valid_from       INTEGER NOT NULL,
    valid_to         INTEGER, -- null while nothing has followed
    last_seen        INTEGER NOT NULL,
    recorded_at      INTEGER NOT NULL,
    updated_at       INTEGER NOT NULL,
    episode_id       TEXT
) STRICT;
CREATE INDEX versions_feed ON versions (user, seq);
CREATE INDEX versions_time ON versions (user, valid_from, seq);
CREATE INDEX versions_importance ON versions (user, importance DESC, valid_from DESC, id);
CREATE INDEX versions_content ON versions (user, type, name_folded, substr(content, 1, 64))
    WHERE attribute_folded IS NULL;
CREATE INDEX versions_slot ON versions (slot, valid_from, said_seq);
CREATE UNIQUE INDEX versions_current ON versions (user, type, name_folded, attribute_folded)
    WHERE valid_to IS NULL AND attribute_folded IS NOT NULL;

CREATE TABLE sightings ( -- every saying of a fact
    sighting       INTEGER PRIMARY KEY,
    id             TEXT NOT NULL UNIQUE,
    seq            INTEGER NOT NULL,
    slot           INTEGER NOT NULL REFERENCES slots (slot),
    version        INTEGER REFERENCES versions (version),
    user           TEXT NOT NULL,
    agent          TEXT NOT NULL,
    session        TEXT NOT NULL,
    name           TEXT NOT NULL,
    attribute      TEXT,
    content        TEXT NOT NULL,
    metadata       TEXT NOT NULL,
    confidence     REAL NOT NULL,
    importance     REAL NOT NULL,
    event_time     INTEGER,
    document_time  INTEGER,
    source         TEXT,
    valid_from     INTEGER NOT NULL,
    starts_version INTEGER NOT NULL CHECK (starts_version IN (0, 1)),
    recorded_at    INTEGER NOT NULL,
    episode_id     TEXT REFERENCES episodes (id)
) STRICT;
CREATE INDEX sightings_slot ON sightings (slot, version);
CREATE INDEX sightings_version ON sightings (version);
CREATE INDEX sightings_episode ON sightings (episode_id) WHERE episode_id IS NOT NULL;
CREATE INDEX sightings_scope ON sightings (user, session);

CREATE TABLE evolutions ( -- how a newer version relates to an older one
    evolution  INTEGER PRIMARY KEY,
    id         TEXT NOT NULL UNIQUE,
    seq        INTEGER NOT NULL,
    user       TEXT NOT NULL,
    older      INTEGER NOT NULL REFERENCES versions (version),
    newer      INTEGER NOT NULL REFERENCES versions (version),
    type       TEXT NOT NULL,
    reason     TEXT NOT NULL,
    confidence REAL NOT NULL,
    created_at INTEGER NOT NULL,
    UNIQUE (older, newer, type)
) STRICT;
CREATE INDEX evolutions_newer ON evolutions (newer);

CREATE TABLE pieces ( -- what the index needs of a text: the whole (ordinal 0) and the parts of a long one
    piece    INTEGER PRIMARY KEY,
    episode  INTEGER REFERENCES episodes (episode),
    sighting INTEGER REFERENCES sightings (sighting),
    ordinal  INTEGER NOT NULL,
    lexical  BLOB NOT NULL,
    embeds   INTEGER NOT NULL CHECK (embeds IN (0, 1)), -- whether it is to have a vector in every space
    CHECK ((episode IS NULL) <> (sighting IS NULL))
) STRICT;
CREATE UNIQUE INDEX pieces_episode ON pieces (episode, ordinal) WHERE episode IS NOT NULL;
CREATE UNIQUE INDEX pieces_sighting ON pieces (sighting, ordinal) WHERE sighting IS NOT NULL;

CREATE TABLE vectors (
    space  INTEGER NOT NULL REFERENCES spaces (space),
    piece  INTEGER NOT NULL REFERENCES pieces (piece),
    vector BLOB NOT NULL,
    PRIMARY KEY (space, piece)
) STRICT, WITHOUT ROWID;
CREATE INDEX vectors_piece ON vectors (piece);

CREATE TABLE jobs ( -- work that a crash or an outage left
    job         INTEGER PRIMARY KEY,
    id          TEXT NOT NULL UNIQUE,
    kind        TEXT NOT NULL,
    user        TEXT NOT NULL,
    agent       TEXT NOT NULL,
    session     TEXT NOT NULL,
    episode     INTEGER REFERENCES episodes (episode),
    sighting    INTEGER REFERENCES sightings (sighting),
    attempts    INTEGER NOT NULL,
    last_error  TEXT,
    lease_until INTEGER,
    lease_holder TEXT, -- whose lease it is; only its holder finishes or fails the job
    created_at  INTEGER NOT NULL,
    CHECK ((episode IS NULL) <> (sighting IS NULL))
) STRICT;
CREATE INDEX jobs_episode ON jobs (episode) WHERE episode IS NOT NULL;
CREATE INDEX jobs_sighting ON jobs (sighting) WHERE sighting IS NOT NULL;

CREATE TABLE deletions ( -- ids that were rows once, without their words
    id      TEXT PRIMARY KEY,
    kind    TEXT NOT NULL,
    user    TEXT NOT NULL,
    agent   TEXT NOT NULL,
    session TEXT NOT NULL,
    seq     INTEGER NOT NULL
) STRICT, WITHOUT ROWID;
CREATE INDEX deletions_feed ON deletions (user, seq);

CREATE TABLE blocks ( -- core memory: every edit is a row, a removal one without content
    block      INTEGER PRIMARY KEY,
    seq        INTEGER NOT NULL,
    user       TEXT NOT NULL,
    agent      TEXT NOT NULL,
    type       TEXT NOT NULL,
    version    INTEGER NOT NULL,
    label      TEXT,
    content    TEXT,
    importance REAL NOT NULL,
    updated_at INTEGER NOT NULL,
    UNIQUE (user, agent, type, version)
) STRICT;

CREATE TABLE working ( -- working memory: bytes with a time to live
    user       TEXT NOT NULL,
    agent      TEXT NOT NULL,
    session    TEXT NOT NULL,
    key        TEXT NOT NULL,
    value      BLOB NOT NULL,
    ttl        INTEGER, -- the time to live that it was given, in microseconds; null for forever
    expires_at INTEGER, -- null for never
    PRIMARY KEY (user, agent, session, key)
) STRICT, WITHOUT ROWID;
CREATE INDEX working_expiry ON working (user, agent, session, expires_at) WHERE expires_at IS NOT NULL;

CREATE TABLE working_usage ( -- what the keys of a scope that were live at a time amount to
    user    TEXT NOT NULL,
    agent   TEXT NOT NULL,
    session TEXT NOT NULL,
    bytes   INTEGER NOT NULL, -- of keys and values
    entries INTEGER NOT NULL,
    at      INTEGER NOT NULL,
    PRIMARY KEY (user, agent, session)
) STRICT, WITHOUT ROWID;

-- For people. Nothing in the engine reads these.

-- julianday, because unixepoch('subsec') is null in the sqlite3 shells of before 2023.
CREATE VIEW facts_now AS
    SELECT user, type, name, attribute, content, confidence,
           strftime('%Y-%m-%d %H:%M:%S', valid_from / 1000000, 'unixepoch') AS since, id
    FROM versions
    WHERE valid_from <= CAST((julianday('now') - 2440587.5) * 86400000000 AS INTEGER)
      AND (valid_to IS NULL OR valid_to > CAST((julianday('now') - 2440587.5) * 86400000000 AS INTEGER))
    ORDER BY user, type, name, attribute, valid_from, seq;

CREATE VIEW facts_history AS
    SELECT user, type, name, attribute, content,
           strftime('%Y-%m-%d %H:%M:%S', valid_from / 1000000, 'unixepoch') AS since,
           strftime('%Y-%m-%d %H:%M:%S', valid_to / 1000000, 'unixepoch') AS until, id
    FROM versions
    ORDER BY user, type, name, attribute, slot, valid_from, said_seq;

CREATE VIEW conversation AS
    SELECT user, session, strftime('%Y-%m-%d %H:%M:%S', at / 1000000, 'unixepoch') AS at,
           role, name, text, id
    FROM episodes
    ORDER BY user, episodes.at, seq;

CREATE VIEW core_now AS
    SELECT user, agent, type, label, content, importance, version,
           strftime('%Y-%m-%d %H:%M:%S', updated_at / 1000000, 'unixepoch') AS updated
    FROM blocks
    WHERE content IS NOT NULL
      AND version = (SELECT max(version) FROM blocks AS b
                     WHERE b.user = blocks.user AND b.agent = blocks.agent AND b.type = blocks.type)
    ORDER BY user, agent, type;
