"""`python -m model.gemma.build CHECKPOINT FOLDER`: graphs of your own for `--model FOLDER`.

Built around `graphs.text_graph` and `graphs.vision_graph`. CHECKPOINT is the folder of google/embeddinggemma-2:
config.json, model.safetensors, tokenizer.json. It knows nothing of networks: nothing is downloaded.
"""

from __future__ import annotations

import argparse
import shutil
import sys
from collections.abc import Sequence
from pathlib import Path

from model.embedder import ModelError
from model.gemma.build.checkpoint import Checkpoint
from model.gemma.build.graphs import text_graph, vision_graph
from model.gemma.files import GRAPHS
from model.hub_models import PRECISIONS, RECORD
from model.onnx_writer import Graph

DEFAULT = "int8"
"""On random weights at the real size it is nearer to the exact vectors than q4, and faster (docs/benchmarks.md)."""
TOWERS = dict(zip(GRAPHS, (text_graph, vision_graph), strict=True))


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m model.gemma.build", description=(__doc__ or "").split("\n")[0])
    parser.add_argument("checkpoint", type=Path, help="the folder of google/embeddinggemma-2")
    parser.add_argument("folder", type=Path, help="where the graphs go")
    parser.add_argument("--precision", choices=("float32", "q4", "int8"), default=DEFAULT)
    options = parser.parse_args(arguments)
    try:
        build(options.checkpoint, options.folder, options.precision)
    except ModelError as error:
        print(error, file=sys.stderr)
        return 1
    except OSError as error:
        print(f"{options.folder} cannot be written ({error.strerror or error}).", file=sys.stderr)
        return 1
    print(f"sightline run --model {options.folder}", file=sys.stderr)
    return 0


def build(checkpoint_folder: Path, folder: Path, precision: str = DEFAULT) -> None:
    """Write graphs, tokenizer and config.json of a checkpoint into `folder`. Raises `ModelError`; a graph that is not
    complete is not left behind."""
    if not (checkpoint_folder / "tokenizer.json").is_file():
        raise ModelError(f"{checkpoint_folder / 'tokenizer.json'} is missing.")
    build_graphs(checkpoint_folder, folder, precision)
    for file in ("tokenizer.json", "config.json"):
        shutil.copyfile(checkpoint_folder / file, folder / file)
    (folder / RECORD).unlink(missing_ok=True)  # of the hashes of earlier graphs


def build_graphs(checkpoint_folder: Path, folder: Path, precision: str = DEFAULT) -> None:
    """As `build`, without tokenizer and config.json: 0.3 GB of memory for int8 and q4."""
    checkpoint = Checkpoint(checkpoint_folder)
    for name, write in TOWERS.items():
        target = folder / f"{name}{PRECISIONS[precision]}.onnx"
        data = target.with_name(target.name + "_data")
        target.parent.mkdir(parents=True, exist_ok=True)
        partial = data.with_name(data.name + ".part")
        try:
            with partial.open("wb") as stream:
                content = write(Graph(target.stem, stream, data.name), checkpoint, precision)
            target.unlink(missing_ok=True)  # a graph beside the weights of another would load
            partial.replace(data)
            target.write_bytes(content)
        finally:
            partial.unlink(missing_ok=True)


if __name__ == "__main__":
    sys.exit(main())
