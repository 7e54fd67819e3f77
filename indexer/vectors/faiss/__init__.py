"""The embedded vector index: FAISS over segments of float16 vectors in one folder."""
