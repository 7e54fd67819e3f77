-- An index that stands elsewhere keeps beside each vector the roots that its content lies in. A content of one root
-- comes into the journal with its vector; one that has files in two, whenever it comes into a root or leaves one.

CREATE OR REPLACE FUNCTION file_moves_roots() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF TG_OP <> 'DELETE' AND EXISTS (
        SELECT 1 FROM file o WHERE o.content_hash = new.content_hash AND o.root_id <> new.root_id
    ) THEN
        INSERT INTO change (chunk_id) SELECT id FROM chunk WHERE content_hash = new.content_hash;
    END IF;
    IF TG_OP <> 'INSERT' AND EXISTS (
        SELECT 1 FROM file o WHERE o.content_hash = old.content_hash AND o.root_id <> old.root_id
    ) THEN
        INSERT INTO change (chunk_id) SELECT id FROM chunk WHERE content_hash = old.content_hash;
    END IF;
    RETURN NULL;
END $$;
CREATE OR REPLACE TRIGGER file_insert_root AFTER INSERT ON file FOR EACH ROW
    WHEN (new.content_hash IS NOT NULL) EXECUTE FUNCTION file_moves_roots();
CREATE OR REPLACE TRIGGER file_delete_root AFTER DELETE ON file FOR EACH ROW
    WHEN (old.content_hash IS NOT NULL) EXECUTE FUNCTION file_moves_roots();
CREATE OR REPLACE TRIGGER file_update_root AFTER UPDATE ON file FOR EACH ROW
    WHEN ((old.content_hash, old.root_id) IS DISTINCT FROM (new.content_hash, new.root_id))
    EXECUTE FUNCTION file_moves_roots();
