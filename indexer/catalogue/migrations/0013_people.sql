-- The people whom a file names: a content has those in its bytes, a file also those that lie beside it. Each name stands
-- between two line ends; NULL without any. They are read with the other facts, anew (`GENERATION` in data/media/metadata.py).
ALTER TABLE content ADD COLUMN people TEXT;
ALTER TABLE file ADD COLUMN people TEXT;
