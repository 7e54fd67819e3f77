-- The first library. indexer/schema.py describes the same tables for queries; a test compares the two.

CREATE TABLE root (
    id         INTEGER PRIMARY KEY,
    path       TEXT NOT NULL UNIQUE,             -- absolute; a BLOB where the name is not UTF-8
    state      TEXT NOT NULL DEFAULT 'here' CHECK (state IN ('here', 'away', 'left_out')),
    mount      TEXT,                             -- the mount point it was on at its last good scan
    ignored    INTEGER NOT NULL DEFAULT 0,       -- entries passed over by the last scan
    scanned_at REAL
);

CREATE TABLE content (
    hash        BLOB PRIMARY KEY,                -- BLAKE3, 32 bytes
    kind        TEXT NOT NULL CHECK (kind IN ('image', 'video', 'pdf')),
    state       TEXT NOT NULL DEFAULT 'pending' CHECK (state IN ('pending', 'ready', 'failed')),
    error       TEXT,
    failed_at   REAL,
    recipe      TEXT NOT NULL DEFAULT '',        -- how it was cut into chunks: 'w30 o0'
    ocr         TEXT NOT NULL DEFAULT 'none' CHECK (ocr IN ('none', 'pending', 'done')),
    orphaned_at REAL,                            -- since when no file has these bytes
    duration_s  REAL,
    pages       INTEGER,
    width       INTEGER,
    height      INTEGER,
    taken_at    REAL,
    camera      TEXT,
    lat         REAL,
    lon         REAL
);
CREATE INDEX content_pending ON content (state, kind) WHERE state <> 'ready';
CREATE INDEX content_ocr ON content (ocr) WHERE ocr = 'pending';
CREATE INDEX content_orphaned ON content (orphaned_at) WHERE orphaned_at IS NOT NULL;

CREATE TABLE file (
    id           INTEGER PRIMARY KEY AUTOINCREMENT,
    root_id      INTEGER NOT NULL REFERENCES root (id) ON DELETE CASCADE,
    path         TEXT NOT NULL UNIQUE,           -- absolute; these three are BLOBs where not UTF-8
    folder       TEXT NOT NULL,
    name         TEXT NOT NULL,
    kind         TEXT NOT NULL CHECK (kind IN ('image', 'video', 'pdf')),   -- by the name alone
    size         INTEGER NOT NULL,
    mtime_ns     INTEGER NOT NULL,
    ctime_ns     INTEGER NOT NULL,
    content_hash BLOB REFERENCES content (hash),
    state        TEXT NOT NULL DEFAULT 'pending' CHECK (state IN ('pending', 'known', 'failed')),
    error        TEXT,
    failed_at    REAL
);
CREATE INDEX file_folder ON file (root_id, folder);
CREATE INDEX file_content ON file (content_hash);
CREATE INDEX file_kind ON file (root_id, kind);
CREATE INDEX file_pending ON file (state) WHERE state <> 'known';

CREATE TABLE chunk (
    id           INTEGER PRIMARY KEY AUTOINCREMENT,  -- never used again, so an old link cannot point at a new chunk
    content_hash BLOB NOT NULL REFERENCES content (hash) ON DELETE CASCADE,
    ordinal      INTEGER NOT NULL,
    start_s      REAL,
    end_s        REAL,
    page         INTEGER,
    text         TEXT NOT NULL DEFAULT '',
    same_as      INTEGER,                        -- ordinal of the earlier chunk whose vector it shares
    UNIQUE (content_hash, ordinal)
);
CREATE INDEX chunk_shared ON chunk (content_hash) WHERE same_as IS NOT NULL;

CREATE TABLE model (
    id     INTEGER PRIMARY KEY,
    name   TEXT NOT NULL UNIQUE,                 -- Embedder.id
    dim    INTEGER NOT NULL,
    state  TEXT NOT NULL CHECK (state IN ('answering', 'building', 'old')),
    source TEXT NOT NULL DEFAULT '{}'            -- JSON: what model.load() was given
);

CREATE TABLE embedding (
    id       INTEGER PRIMARY KEY,
    chunk_id INTEGER NOT NULL REFERENCES chunk (id) ON DELETE CASCADE,
    model_id INTEGER NOT NULL REFERENCES model (id) ON DELETE CASCADE,
    vector   BLOB NOT NULL,                      -- little-endian float16 [dim], unit length
    UNIQUE (chunk_id, model_id)
);

CREATE TABLE setting (
    name  TEXT PRIMARY KEY,
    value TEXT NOT NULL
);

-- Words of chunks: the text stays in `chunk`, triggers keep the index in step.
CREATE VIRTUAL TABLE words USING fts5 (
    text, content = 'chunk', content_rowid = 'id', tokenize = 'porter unicode61 remove_diacritics 2', prefix = '3'
);
CREATE TRIGGER chunk_words_insert AFTER INSERT ON chunk BEGIN
    INSERT INTO words (rowid, text) VALUES (new.id, new.text);
END;
CREATE TRIGGER chunk_words_delete AFTER DELETE ON chunk BEGIN
    INSERT INTO words (words, rowid, text) VALUES ('delete', old.id, old.text);
END;
CREATE TRIGGER chunk_words_update AFTER UPDATE OF text ON chunk BEGIN
    INSERT INTO words (words, rowid, text) VALUES ('delete', old.id, old.text);
    INSERT INTO words (rowid, text) VALUES (new.id, new.text);
END;

-- Words of names: `name` without its extension, `folder` the folders below (and with) the root's own name.
CREATE VIRTUAL TABLE names USING fts5 (
    name, folder, tokenize = 'unicode61 remove_diacritics 2', prefix = '2 3'
);
CREATE TRIGGER file_names_delete AFTER DELETE ON file BEGIN
    DELETE FROM names WHERE rowid = old.id;
END;

-- What a folder looked like when it and the catalogue last agreed: a second scan compares one hash a folder.
-- Whatever changes a file's row takes it away.
CREATE TABLE seen (
    root_id INTEGER NOT NULL REFERENCES root (id) ON DELETE CASCADE,
    folder  TEXT NOT NULL,
    digest  BLOB NOT NULL,                       -- of the names and stamps in it
    files   INTEGER NOT NULL,
    ignored INTEGER NOT NULL,
    PRIMARY KEY (root_id, folder)
) WITHOUT ROWID;
CREATE TRIGGER file_insert_seen AFTER INSERT ON file BEGIN
    DELETE FROM seen WHERE root_id = new.root_id AND folder = new.folder;
END;
CREATE TRIGGER file_delete_seen AFTER DELETE ON file BEGIN
    DELETE FROM seen WHERE root_id = old.root_id AND folder = old.folder;
END;
CREATE TRIGGER file_update_seen AFTER UPDATE OF root_id, folder, name, size, mtime_ns, ctime_ns ON file
WHEN (old.root_id, old.folder, old.name, old.size, old.mtime_ns, old.ctime_ns)
    IS NOT (new.root_id, new.folder, new.name, new.size, new.mtime_ns, new.ctime_ns) BEGIN
    DELETE FROM seen WHERE root_id = old.root_id AND folder = old.folder;
    DELETE FROM seen WHERE root_id = new.root_id AND folder = new.folder;
END;

-- A content without a file is out of every answer at once, and is forgotten a day later (an undone
-- deletion, or a move seen in two halves, costs no embedding).
CREATE TRIGGER file_insert_content AFTER INSERT ON file WHEN new.content_hash IS NOT NULL BEGIN
    UPDATE content SET orphaned_at = NULL WHERE hash = new.content_hash AND orphaned_at IS NOT NULL;
END;
CREATE TRIGGER file_update_content AFTER UPDATE OF content_hash ON file
WHEN old.content_hash IS NOT new.content_hash BEGIN
    UPDATE content SET orphaned_at = NULL WHERE hash = new.content_hash AND orphaned_at IS NOT NULL;
    UPDATE content SET orphaned_at = (julianday('now') - 2440587.5) * 86400.0
    WHERE hash = old.content_hash AND NOT EXISTS (SELECT 1 FROM file WHERE content_hash = old.content_hash);
END;
CREATE TRIGGER file_delete_content AFTER DELETE ON file WHEN old.content_hash IS NOT NULL BEGIN
    UPDATE content SET orphaned_at = (julianday('now') - 2440587.5) * 86400.0
    WHERE hash = old.content_hash AND NOT EXISTS (SELECT 1 FROM file WHERE content_hash = old.content_hash);
END;

-- Which chunks came, went or changed their vector, in order: what a vector index reads to catch up.
CREATE TABLE change (
    id       INTEGER PRIMARY KEY AUTOINCREMENT,
    chunk_id INTEGER NOT NULL
);
CREATE TRIGGER embedding_insert_change AFTER INSERT ON embedding BEGIN
    INSERT INTO change (chunk_id) VALUES (new.chunk_id);
END;
CREATE TRIGGER embedding_update_change AFTER UPDATE OF vector ON embedding BEGIN
    INSERT INTO change (chunk_id) VALUES (new.chunk_id);
END;
CREATE TRIGGER embedding_delete_change AFTER DELETE ON embedding BEGIN
    INSERT INTO change (chunk_id) VALUES (old.chunk_id);
END;
CREATE TRIGGER content_orphan_change AFTER UPDATE OF orphaned_at ON content
WHEN (old.orphaned_at IS NULL) <> (new.orphaned_at IS NULL) BEGIN
    INSERT INTO change (chunk_id) SELECT id FROM chunk WHERE content_hash = new.hash;
END;
