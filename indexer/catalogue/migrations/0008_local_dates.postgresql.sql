-- Dates as the clock on the wall showed them, as ISO 8601 text with as much as is known: they compare by the local day. A
-- content has what its bytes state; a file has the most trusted of that, of what lies beside it, of its name and its
-- own date (taken_from = 'file'), and the words that lie beside it. `due`: that is to be read; NULL: it is not, or waits
-- for its content. It counts up while it waits, so that a change during the reading is not lost.
ALTER TABLE content ADD COLUMN taken text COLLATE "C";
ALTER TABLE content ADD COLUMN taken_from text COLLATE "C";
ALTER TABLE content ADD COLUMN facts bigint NOT NULL DEFAULT 0;  -- `GENERATION` in data/media/metadata.py
ALTER TABLE file ADD COLUMN taken text COLLATE "C";
ALTER TABLE file ADD COLUMN taken_from text COLLATE "C";
ALTER TABLE file ADD COLUMN camera text COLLATE "C";
ALTER TABLE file ADD COLUMN lat double precision;
ALTER TABLE file ADD COLUMN lon double precision;
ALTER TABLE file ADD COLUMN words text COLLATE "C" NOT NULL DEFAULT '';
ALTER TABLE file ADD COLUMN due bigint;
-- Until they are read anew (in the background): the dates that were known, on this computer's clock.
UPDATE content SET taken = to_char(to_timestamp(taken_at), 'YYYY-MM-DD"T"HH24:MI:SS'), taken_from = 'exif'
WHERE taken_at IS NOT NULL;
UPDATE file SET due = 1, (taken, taken_from, camera, lat, lon) = (
    SELECT c.taken, c.taken_from, c.camera, c.lat, c.lon FROM content c WHERE c.hash = file.content_hash
) WHERE content_hash IS NOT NULL;
ALTER TABLE content DROP COLUMN taken_at;
CREATE INDEX file_due ON file (due) WHERE due IS NOT NULL;
