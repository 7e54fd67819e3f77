-- What is said in a video, or written under it: a line and its seconds. Cues belong to the content and outlast the way it
-- is cut; the text of its windows is made from them.
CREATE TABLE cue (
    id           INTEGER PRIMARY KEY,
    content_hash BLOB NOT NULL REFERENCES content (hash) ON DELETE CASCADE,
    start_s      REAL NOT NULL,
    end_s        REAL NOT NULL,
    text         TEXT NOT NULL
);
CREATE INDEX cue_of_content ON cue (content_hash, start_s);

-- none: there is nothing to hear | pending | subtitles: they came with the file | who has heard it (Listener.id)
ALTER TABLE content ADD COLUMN heard TEXT NOT NULL DEFAULT 'none';
UPDATE content SET heard = 'pending' WHERE kind = 'video';
CREATE INDEX content_unheard ON content (heard) WHERE heard = 'pending';
