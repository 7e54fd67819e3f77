-- Words of names by their English stems, as those of texts: `cat` finds cats.jpg.
DROP TRIGGER file_names_delete;
ALTER TABLE names RENAME TO unstemmed;
CREATE VIRTUAL TABLE names USING fts5 (
    name, folder, tokenize = 'porter unicode61 remove_diacritics 2', prefix = '2 3'
);
INSERT INTO names (rowid, name, folder) SELECT rowid, name, folder FROM unstemmed;
DROP TABLE unstemmed;
CREATE TRIGGER file_names_delete AFTER DELETE ON file BEGIN
    DELETE FROM names WHERE rowid = old.id;
END;
