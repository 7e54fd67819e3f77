"""An indexing program to be killed: `python -m tests.indexer.pipeline.killable_index DATA_DIR FOLDER MODEL [STEP N]`.

Prints `begun` when the work begins, and at its end how many times it committed. With a step it kills itself there, as
an outsider would: at the N-th commit, or in a step of a switch of the model. Model `other` is the lite model in another
space; `back` indexes nothing, and returns to the model before the last switch.
"""

import os
import signal
import sys
import threading
from pathlib import Path
from typing import Any

import numpy as np
import sqlalchemy as sa


class OtherModel:
    """A model in another space: the axes in reverse."""

    def __init__(self, inner: Any) -> None:
        self.inner, self.id, self.dim, self.max_frames = inner, "other@1-r1", inner.dim, inner.max_frames
        self.max_side, self.page_side = inner.max_side, inner.page_side

    def embed(self, inputs: Any) -> np.ndarray:
        return np.ascontiguousarray(self.inner.embed(inputs)[:, ::-1])


def end() -> None:
    os.kill(os.getpid(), signal.SIGKILL)


class Commits:
    """Counts the transactions that write, and ends the program before or after one of them."""

    def __init__(self, engine: sa.Engine, step: str, number: int) -> None:
        self.count, self.step, self.number = 0, step, number
        self._thread = threading.local()
        self._commit = engine.dialect.do_commit
        sa.event.listen(engine, "commit", self._before)
        engine.dialect.do_commit = self._do  # type: ignore[method-assign]

    def _before(self, connection: sa.Connection) -> None:
        self._thread.writes = connection.get_execution_options().get("writes", False)
        if self._thread.writes:
            self.count += 1
            self._end_if("before commit")

    def _do(self, connection: Any) -> None:
        self._commit(connection)
        if getattr(self._thread, "writes", False):
            self._thread.writes = False
            self._end_if("after commit")

    def _end_if(self, step: str) -> None:
        if (self.step, self.number) == (step, self.count):
            end()


def end_in_switch(commits: Commits, step: str) -> None:
    """End the program in a step of the switch to `other`."""
    from indexer.catalogue.models import Models
    from indexer.vectors.faiss import segment_files

    promote, write, write_segment = Models.promote, segment_files.write, segment_files._write_segment
    keys: list[str] = []

    def promoting(self: Models, model_id: int) -> None:
        if step == "in the promotion":
            commits.step, commits.number = "before commit", commits.count + 1
        promote(self, model_id)
        if step == "after the promotion":
            end()

    def writing(path: Path, key: str, *rest: Any) -> None:
        keys.append(key)
        write(path, key, *rest)
        if step == "index written" and key.startswith("other"):
            end()

    def writing_segment(*arguments: Any) -> dict[str, Any]:
        section = write_segment(*arguments)
        if step == "index half written" and keys[-1].startswith("other"):
            end()
        return section

    Models.promote = promoting  # type: ignore[method-assign]
    segment_files.write = writing  # type: ignore[assignment]
    segment_files._write_segment = writing_segment


def main(data_dir: str, folder: str, model: str, step: str = "", number: str = "0") -> None:
    from indexer.library import Library
    from model import loading

    real = loading.load
    loading.load = lambda name="lite", **o: OtherModel(real("lite")) if name == "other" else real(name, **o)  # type: ignore[assignment]
    is_back = model == "back"
    options = {"explicit_model": not is_back, "nice": False, "ocr": "off"}
    with Library.open(Path(data_dir), "lite" if is_back else model, **options) as library:
        commits = Commits(library.catalogue.database.engine, step, int(number))
        end_in_switch(commits, step)
        print("begun", flush=True)
        if is_back:
            library.roll_back_model()
        else:
            library.index([Path(folder)])
            library.vector_index().merge()
        print(commits.count, flush=True)


if __name__ == "__main__":
    main(*sys.argv[1:])
