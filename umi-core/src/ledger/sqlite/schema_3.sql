-- Version 3: saved contexts, and what episodes keep in the folder `blobs`. It is run on a store of an older version, and
-- behind the other scripts on a new one. It touches no table of theirs.
--
-- A blob is a file of the folder `blobs` beside the database, called by the SHA-256 of its content and an extension. It
-- is there, and on the disk, before a row that names it is committed; one that no row names is to be removed.

CREATE TABLE contexts ( -- saved contexts: (user, session) names one
    context  INTEGER PRIMARY KEY,
    user     TEXT NOT NULL,
    agent    TEXT NOT NULL, -- always '': a context belongs to no agent
    session  TEXT NOT NULL,
    saved_at INTEGER NOT NULL,
    UNIQUE (user, session)
) STRICT;

CREATE TABLE items ( -- what saved contexts hold, each row with its scope
    item       INTEGER PRIMARY KEY,
    context    INTEGER NOT NULL REFERENCES contexts (context),
    user       TEXT NOT NULL,
    agent      TEXT NOT NULL,
    session    TEXT NOT NULL,
    place      INTEGER NOT NULL, -- its place in the context, from 0
    ref        TEXT NOT NULL,
    role       TEXT NOT NULL,
    kind       TEXT NOT NULL,
    source     TEXT NOT NULL CHECK (source IN ('text', 'path', 'url', 'bytes', 'object')),
    text       TEXT,    -- of a text
    uri        TEXT,    -- file:// of a path, or the address
    media_type TEXT,
    metadata   TEXT NOT NULL, -- a JSON object
    hash       TEXT,    -- the SHA-256 of the content; null for an address and for a file that could not be found
    extension  TEXT CHECK (extension <> '' AND extension NOT GLOB '*[^a-z0-9]*'), -- of its blob, where it has one
    bytes      INTEGER, -- the size of the content
    modified   INTEGER, -- of a file: when its content changed last, in nanoseconds since 1970
    touched    INTEGER, -- of a file: when anything of it changed last (ctime), in nanoseconds since 1970
    CHECK ((source = 'text') = (text IS NOT NULL)),
    CHECK ((source IN ('bytes', 'object')) = (extension IS NOT NULL)),
    CHECK ((source IN ('path', 'url')) = (uri IS NOT NULL)),
    CHECK (extension IS NULL OR length(hash) = 64),
    UNIQUE (context, place),
    UNIQUE (context, ref)
) STRICT;
CREATE INDEX items_blob ON items (hash) WHERE extension IS NOT NULL;

CREATE TABLE attachments ( -- the item of a context that an episode stands for, each row with its scope
    attachment INTEGER PRIMARY KEY,
    episode    INTEGER NOT NULL UNIQUE REFERENCES episodes (episode),
    user       TEXT NOT NULL,
    agent      TEXT NOT NULL,
    session    TEXT NOT NULL,
    origin     TEXT NOT NULL, -- the session of its context
    ref        TEXT NOT NULL,
    kind       TEXT NOT NULL,
    name       TEXT, -- the name of its file
    uri        TEXT,
    media_type TEXT,
    hash       TEXT,
    extension  TEXT CHECK (extension <> '' AND extension NOT GLOB '*[^a-z0-9]*'), -- of its blob, where it has one
    bytes      INTEGER,
    CHECK (extension IS NULL OR (length(hash) = 64 AND bytes IS NOT NULL))
) STRICT;
CREATE INDEX attachments_ref ON attachments (user, origin, ref);
CREATE INDEX attachments_blob ON attachments (hash) WHERE extension IS NOT NULL;
