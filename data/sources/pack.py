"""Packs subsets of the recipe, so that one row is read at the cost of one row (`packed.py`):

python -m data.sources.pack --root data/vlm2vec colpali_train_set visrag-indomain
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from data.sources.packed import is_packed, pack
from data.sources.pair import SourceError
from data.sources.recipe import packed_folder, subset_files, subsets


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m data.sources.pack", description="Pack subsets of the recipe.")
    parser.add_argument("names", nargs="+", choices=sorted(subsets()), metavar="NAME")
    parser.add_argument("--root", type=Path, required=True, help="the --root of data.download")
    options = parser.parse_args(arguments)
    for name in options.names:
        subset = subsets()[name]
        try:
            files = subset_files(subset, options.root)
            folder = packed_folder(subset, options.root)
            if any(path.suffix != ".parquet" for path in files):
                raise SourceError(f"{name} is no Parquet: its rows are read one at a time already")
            if is_packed(folder, files, subset.columns):
                print(f"{name}: packed already, {folder}", file=sys.stderr)
                continue
            pack(
                files, folder, subset.columns, lambda done, total: print(f"  {done} of {total} files", file=sys.stderr)
            )
            print(f"{name}: {folder}", file=sys.stderr)
        except SourceError as error:
            print(error, file=sys.stderr)
            return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
