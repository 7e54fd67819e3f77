"""`sightline serve-model`: this machine's model for other programs, over HTTP."""
