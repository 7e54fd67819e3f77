"""From an entry of a config's `datasets:` to its source.

Built around the registry of `source.py`; the import of `pairs.py` registers Sightline's own type, and `recipe.py`
opens the subsets of VLM2Vec-V2. It knows nothing of rows.
"""

from __future__ import annotations

import importlib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import data.sources.pairs  # noqa: F401
from data.sources.pair import SourceError
from data.sources.recipe import open_subset
from data.sources.source import SOURCE_TYPES, Source


def open_source(entry: Mapping[str, Any], data_root: Path, imports: Sequence[str] = ()) -> Source:
    """Returns the source of one entry of `datasets:`.

    `{name: ImageNet_1K}` is a subset of the recipe below `data_root`; `{type: pairs, path: …}` is a source class that
    is registered under that type. Raises `SourceError`: unknown, absent, broken, empty.
    """
    for module in imports:
        try:
            importlib.import_module(module)
        except ImportError as error:
            raise SourceError(
                f"imports: {module} cannot be imported ({error}); it is looked for in the working directory "
                "and in PYTHONPATH"
            ) from error
    options = {key: value for key, value in entry.items() if key not in ("type", "weight")}
    kind = entry.get("type")
    if kind is None:
        source = open_subset(str(options.pop("name", "")), data_root, **options)
    elif kind in SOURCE_TYPES:
        try:
            source = SOURCE_TYPES[kind](**options)
        except TypeError as error:
            raise SourceError(f"datasets: type {kind} does not take these keys ({error})") from error
    elif kind == "library":
        raise SourceError(
            "datasets: a library is trained on from a file: run `sightline export --pairs FILE.jsonl` and "
            "write {type: pairs, path: FILE.jsonl}"
        )
    else:
        raise SourceError(f"datasets: no source type is called {kind!r}; known are {', '.join(sorted(SOURCE_TYPES))}")
    if not source.name:
        source.name = str(entry.get("name") or kind)
    if len(source) == 0:
        raise SourceError(f"{source.name} is empty: it has no rows to train on")
    return source
