"""The catalogue on PostgreSQL. Only `dialects/__init__.py` imports this package."""
