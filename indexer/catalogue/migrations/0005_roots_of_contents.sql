-- An index that stands elsewhere keeps beside each vector the roots that its content lies in. A content of one root
-- comes into the journal with its vector; one that has files in two, whenever it comes into a root or leaves one.

CREATE TRIGGER file_insert_root AFTER INSERT ON file
WHEN EXISTS (SELECT 1 FROM file o WHERE o.content_hash = new.content_hash AND o.root_id <> new.root_id) BEGIN
    INSERT INTO change (chunk_id) SELECT id FROM chunk WHERE content_hash = new.content_hash;
END;
CREATE TRIGGER file_delete_root AFTER DELETE ON file
WHEN EXISTS (SELECT 1 FROM file o WHERE o.content_hash = old.content_hash AND o.root_id <> old.root_id) BEGIN
    INSERT INTO change (chunk_id) SELECT id FROM chunk WHERE content_hash = old.content_hash;
END;
CREATE TRIGGER file_update_root AFTER UPDATE OF content_hash, root_id ON file
WHEN (old.content_hash, old.root_id) IS NOT (new.content_hash, new.root_id) BEGIN
    INSERT INTO change (chunk_id) SELECT k.id FROM chunk k
    WHERE (k.content_hash = new.content_hash AND EXISTS (
            SELECT 1 FROM file o WHERE o.content_hash = new.content_hash AND o.root_id <> new.root_id))
        OR (k.content_hash = old.content_hash AND EXISTS (
            SELECT 1 FROM file o WHERE o.content_hash = old.content_hash AND o.root_id <> old.root_id));
END;
