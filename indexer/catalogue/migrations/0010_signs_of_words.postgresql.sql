-- A vowel sign (Unicode's marks) belongs to its word: दिल and दाल are two words, not the letters that they share.
-- The terms of all texts and names are made anew (`catalogue.py`, where it finds chunks without words).
TRUNCATE words, characters, names, term;
UPDATE tally SET docs = 0, tokens = 0;
