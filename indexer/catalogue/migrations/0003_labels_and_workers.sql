-- Labels are asked for without regard to case, in words that every engine has.
DROP INDEX label_name;
CREATE INDEX label_lower ON label (lower(name), chunk_id);

-- Programs that index this library, on any machine: what they are, and when they were last heard of.
-- All times here are the database's own clock, seconds since 1970.
CREATE TABLE worker (
    id       INTEGER PRIMARY KEY,
    name     TEXT NOT NULL UNIQUE,
    host     TEXT NOT NULL,
    version  TEXT NOT NULL,
    model    TEXT NOT NULL,                      -- Embedder.id
    maps     TEXT NOT NULL DEFAULT '{}',         -- JSON: root as the catalogue has it -> as this worker sees it
    told     TEXT NOT NULL DEFAULT '',           -- a line for people: what it does, or why it does not
    since    REAL NOT NULL,
    seen     REAL NOT NULL
);

-- Which content is whose until when. A lease that has run out, or whose worker is gone, is nobody's.
CREATE TABLE claim (
    hash      BLOB PRIMARY KEY REFERENCES content (hash) ON DELETE CASCADE,
    worker_id INTEGER NOT NULL REFERENCES worker (id) ON DELETE CASCADE,
    until     REAL NOT NULL,
    tries     INTEGER NOT NULL DEFAULT 1         -- how often it was claimed; one that kills its workers is known
);
CREATE INDEX claim_until ON claim (until);
CREATE INDEX claim_worker ON claim (worker_id);
