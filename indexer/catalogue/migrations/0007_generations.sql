-- Which generation of reading (`GENERATION` in data/media/kinds.py) a content was read in; 1 before they were counted.
ALTER TABLE content ADD COLUMN generation INTEGER NOT NULL DEFAULT 1;
CREATE INDEX content_generation ON content (kind, generation);
