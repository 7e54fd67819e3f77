-- Dates as the clock on the wall showed them, as ISO 8601 text with as much as is known: they compare by the local day. A
-- content has what its bytes state; a file has the most trusted of that, of what lies beside it, of its name and its
-- own date (taken_from = 'file'), and the words that lie beside it. `due`: that is to be read; NULL: it is not, or waits
-- for its content. It counts up while it waits, so that a change during the reading is not lost.
ALTER TABLE content ADD COLUMN taken TEXT;
ALTER TABLE content ADD COLUMN taken_from TEXT;
ALTER TABLE content ADD COLUMN facts INTEGER NOT NULL DEFAULT 0;  -- `GENERATION` in data/media/metadata.py
ALTER TABLE file ADD COLUMN taken TEXT;
ALTER TABLE file ADD COLUMN taken_from TEXT;
ALTER TABLE file ADD COLUMN camera TEXT;
ALTER TABLE file ADD COLUMN lat REAL;
ALTER TABLE file ADD COLUMN lon REAL;
ALTER TABLE file ADD COLUMN words TEXT NOT NULL DEFAULT '';
ALTER TABLE file ADD COLUMN due INTEGER;
-- Until they are read anew (in the background): the dates that were known, on this computer's clock.
UPDATE content SET taken = strftime('%Y-%m-%dT%H:%M:%S', taken_at, 'unixepoch', 'localtime'), taken_from = 'exif'
WHERE taken_at IS NOT NULL;
UPDATE file SET due = 1, (taken, taken_from, camera, lat, lon) = (
    SELECT c.taken, c.taken_from, c.camera, c.lat, c.lon FROM content c WHERE c.hash = file.content_hash
) WHERE content_hash IS NOT NULL;
ALTER TABLE content DROP COLUMN taken_at;
CREATE INDEX file_due ON file (due) WHERE due IS NOT NULL;
