-- What is wrong with a content though it can be shown ("the end of the file is missing"), for its owner.
ALTER TABLE content ADD COLUMN note TEXT;

-- 1: an image has a film, inside it or beside it (a motion photo, a live photo).
ALTER TABLE content ADD COLUMN live INTEGER NOT NULL DEFAULT 0;

-- What is not indexed, and why: JSON [[what, why, count, a path], …]. The next scan fills it, folder by folder.
ALTER TABLE root ADD COLUMN left_out TEXT NOT NULL DEFAULT '[]';
ALTER TABLE seen ADD COLUMN left_out TEXT NOT NULL DEFAULT '[]';
DELETE FROM seen;
