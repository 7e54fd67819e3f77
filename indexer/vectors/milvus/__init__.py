"""The vector index on Milvus. Only `vectors/open.py` and `library.py` import this package."""
