-- Albums and favourites: contents by their bytes, so that they outlast a rename, a move and another indexing. A content
-- that is not in the library any more stays in its albums, with the path of the file that was added.
CREATE TABLE album_item (
    id           INTEGER PRIMARY KEY,
    key          TEXT NOT NULL,                  -- the album's name without regard to case; '' for the favourites
    name         TEXT NOT NULL,
    content_hash BLOB NOT NULL,
    path         TEXT NOT NULL,
    added_at     REAL NOT NULL,
    UNIQUE (key, content_hash)
);
CREATE INDEX album_item_content ON album_item (content_hash);
