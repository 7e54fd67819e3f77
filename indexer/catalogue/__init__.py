"""The catalogue: what is known of folders, files and contents, in SQLite or PostgreSQL."""
