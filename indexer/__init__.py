"""Folder to chunks to vectors to catalogue, and search over it. Knows nothing of the web or the command line."""
