-- A vowel sign (Unicode's marks) belongs to its word: दिल and दाल are two words, not the letters that they share.
-- The texts stay as they are; the three tables of words are made anew with the tokenisers of `tokenizers.py`.
DROP TABLE words;
CREATE VIRTUAL TABLE words USING fts5 (
    text, content = 'chunk', content_rowid = 'id', prefix = '3',
    tokenize = "porter unicode61 remove_diacritics 2 categories 'L* N* Co M*'"
);
INSERT INTO words (words) VALUES ('rebuild');

DROP TRIGGER file_names_delete;
ALTER TABLE names RENAME TO older_names;
CREATE VIRTUAL TABLE names USING fts5 (
    name, folder, prefix = '2 3', tokenize = "porter unicode61 remove_diacritics 2 categories 'L* N* Co M*'"
);
INSERT INTO names (rowid, name, folder) SELECT rowid, name, folder FROM older_names;
DROP TABLE older_names;
CREATE TRIGGER file_names_delete AFTER DELETE ON file BEGIN
    DELETE FROM names WHERE rowid = old.id;
END;

DROP TRIGGER chunk_characters_delete;
ALTER TABLE characters RENAME TO older_characters;
CREATE VIRTUAL TABLE characters USING fts5 (
    text, tokenize = "unicode61 remove_diacritics 0 categories 'L* N* Co M*'"
);
INSERT INTO characters (rowid, text) SELECT rowid, text FROM older_characters;
DROP TABLE older_characters;
CREATE TRIGGER chunk_characters_delete AFTER DELETE ON chunk BEGIN
    DELETE FROM characters WHERE rowid = old.id;
END;
