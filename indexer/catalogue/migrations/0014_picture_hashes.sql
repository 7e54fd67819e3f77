-- What an image looks like, in 48 bytes (data/media/picture_hash.py); empty: it has none, NULL: not known yet.
ALTER TABLE content ADD COLUMN picture_hash BLOB;
