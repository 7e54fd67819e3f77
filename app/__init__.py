"""What a person touches: command line, web server, front end, settings."""

__version__ = "0.1.0"
