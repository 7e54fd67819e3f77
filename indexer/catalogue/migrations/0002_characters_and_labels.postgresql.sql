-- Scripts that are written without blanks: each character a term. One row a chunk that holds such a script.
CREATE TABLE characters (
    rowid  bigint PRIMARY KEY REFERENCES chunk (id) ON DELETE CASCADE,
    terms  tsvector NOT NULL,
    length bigint NOT NULL,
    size   bigint NOT NULL
);
CREATE INDEX characters_terms ON characters USING gin (terms);
INSERT INTO tally VALUES ('characters', 0, 0);
CREATE TRIGGER characters_came AFTER INSERT ON characters REFERENCING NEW TABLE AS came
    FOR EACH STATEMENT EXECUTE FUNCTION terms_came();
CREATE TRIGGER characters_went AFTER DELETE ON characters REFERENCING OLD TABLE AS went
    FOR EACH STATEMENT EXECUTE FUNCTION terms_went();

CREATE TABLE label (
    chunk_id bigint NOT NULL REFERENCES chunk (id) ON DELETE CASCADE,
    name     text COLLATE "C" NOT NULL,
    score    double precision NOT NULL,
    hidden   bigint NOT NULL DEFAULT 0,
    PRIMARY KEY (chunk_id, name)
);
CREATE INDEX label_name ON label (name, chunk_id);
