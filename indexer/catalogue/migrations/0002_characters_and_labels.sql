-- Scripts that are written without blanks (Chinese, Japanese, Thai …): each character a token, so that any
-- run of them is found as a phrase. One row a chunk that holds such a script, written by catalogue.py.

CREATE VIRTUAL TABLE characters USING fts5 (text, tokenize = 'unicode61 remove_diacritics 0');
CREATE TRIGGER chunk_characters_delete AFTER DELETE ON chunk BEGIN
    DELETE FROM characters WHERE rowid = old.id;
END;

-- What `labels.py` found: a chunk's score for a label, in standard deviations above the background.
CREATE TABLE label (
    chunk_id INTEGER NOT NULL REFERENCES chunk (id) ON DELETE CASCADE,
    name     TEXT NOT NULL,
    score    REAL NOT NULL,
    hidden   INTEGER NOT NULL DEFAULT 0,         -- 1: a moderation rule keeps the chunk out of answers
    PRIMARY KEY (chunk_id, name)
);
CREATE INDEX label_name ON label (name COLLATE NOCASE, chunk_id);
