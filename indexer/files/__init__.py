"""Folders on disk: the roots of a library, what lies below them, and what happens to it."""
