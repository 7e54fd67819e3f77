"""What a person uses: command line, web server, front end, settings."""

__version__ = "0.1.0"
