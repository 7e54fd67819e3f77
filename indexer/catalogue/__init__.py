"""The catalogue of a library's folders, files and contents, in SQLite or PostgreSQL."""
