"""The vector indexes: nearest embeddings of one model, in this process or on a server."""
