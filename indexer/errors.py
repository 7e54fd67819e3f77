"""Errors of the library. The text of each is for a person: what happened, what to do."""

from __future__ import annotations


class LibraryError(Exception):
    """A request to the library that cannot be met. `str(error)` is one sentence for a person."""


class CatalogueAway(LibraryError):
    """The catalogue's server does not answer, or its file is not there. Programs wait for it and go on."""


class NoLibraryYet(LibraryError):
    """The database exists and holds no library."""


class VectorServerError(LibraryError):
    """The server that holds the vector index failed or refuses. Nothing is lost: the catalogue holds all
    vectors."""


class IndexOutdated(VectorServerError):
    """An older Sightline made the vector index, in a form that has changed since: it must be built again."""


class LeaseLost(LibraryError):
    """The lease on a content ran out, or another worker holds it: this worker's result is not written."""


class QueryError(LibraryError):
    """A filter that cannot be understood. `str(error)` says what to write instead."""
