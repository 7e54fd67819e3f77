"""The models that have vectors in a library, and the chunks without a vector under a model.

Built around the table `model`: one row is `answering`; after a switch of the model another one is `building`
until all chunks have its vectors. The model that answered before is then `old`, and its vectors stay for KEEP_S, so
that a switch can be undone. It knows nothing of loading a model.
"""

from __future__ import annotations

import json
import math
import time

import sqlalchemy as sa

from indexer.catalogue.database import Database
from indexer.catalogue.rows import ModelRow
from indexer.catalogue.schema import embedding, model, setting
from indexer.catalogue.settings import put
from indexer.types import Kind

PREVIOUS = "previous_model"
"""The setting with the name of the model that answered before the last switch, and the time until which it stays."""
KEEP_S = 30 * 86400.0


_ALL = sa.select(model).order_by(model.c.id)


class Models:
    def __init__(self, database: Database) -> None:
        self._database = database

    def all(self) -> list[ModelRow]:
        with self._database.reader() as c:
            rows = c.execute(_ALL)
            return [ModelRow(r.id, r.name, r.dim, r.state, r.source) for r in rows]

    def answering(self) -> ModelRow | None:
        """Returns the model whose vectors answer queries; None if the library has none yet."""
        return next((m for m in self.all() if m.state == "answering"), None)

    def add(self, name: str, dim: int, source: str = "{}") -> ModelRow:
        """Make a model the library's model. If another one has vectors, the new one is `building` until `promote`,
        and the old one answers until then."""
        with self._database.writer() as c:
            rows = {r.name: r for r in c.execute(sa.select(model))}
            answering = next((r for r in rows.values() if r.state == "answering"), None)
            has_vectors = (
                answering is not None
                and c.execute(sa.select(embedding.c.id).where(embedding.c.model_id == answering.id).limit(1)).first()
            )
            if answering is not None and answering.name != name and not has_vectors:
                c.execute(sa.update(model).where(model.c.id == answering.id).values(state="old"))
                answering = None
            state = "answering" if answering is None or answering.name == name else "building"
            old = (model.c.state == "building") & (model.c.name != name)
            c.execute(sa.update(model).where(old).values(state="old"))
            if name in rows:
                c.execute(sa.update(model).where(model.c.name == name).values(state=state, source=source))
            else:
                c.execute(sa.insert(model).values(name=name, dim=dim, state=state, source=source))
        return next(m for m in self.all() if m.name == name)

    def promote(self, model_id: int, *, keep: bool = True) -> None:
        """Let a model answer. The one that answered before stays with its vectors for KEEP_S, unless `keep` is False;
        a model that answered already keeps the one before it. All others are deleted with their vectors."""
        with self._database.writer() as c:
            former = c.execute(sa.select(model.c.name).where(model.c.state == "answering", model.c.id != model_id))
            if keep and (name := former.scalar()) is not None:
                put(c, PREVIOUS, json.dumps([name, time.time() + KEEP_S]))
            c.execute(sa.update(model).values(state=sa.case((model.c.id == model_id, "answering"), else_="old")))
            _delete_old(c, keep=_previous(c)[0] if keep else "")

    def previous(self) -> tuple[ModelRow, float] | None:
        """Returns the model that answered before the last switch, and the time until which its vectors stay."""
        with self._database.reader() as c:
            name, until = _previous(c)
        row = next((m for m in self.all() if m.name == name and m.state != "answering"), None)
        return None if row is None else (row, until)

    def drop_previous(self, now: float = math.inf) -> bool:
        """Delete the previous model and its vectors, if its time ends before `now`. Returns whether there was one."""
        previous = self.previous()
        if previous is None or previous[0].state != "old" or previous[1] > now:
            return False
        with self._database.writer() as c:
            _delete_old(c, keep="")
        return True

    def lacking(self, model_id: int) -> int:
        """Returns how many chunks have no vector under a model."""
        with self._database.reader() as c:
            query = "SELECT (SELECT count(*) FROM chunk) - (SELECT count(*) FROM embedding WHERE model_id = ?)"
            return int(c.exec_driver_sql(query, (model_id,)).scalar_one())

    def lacking_by_kind(self, model_id: int) -> dict[Kind, int]:
        """Returns how many chunks of each kind have no vector under a model."""
        with self._database.reader() as c:
            count = "SELECT c.kind, count(*) FROM content c JOIN chunk k ON k.content_hash = c.hash"
            chunks = {row[0]: int(row[1]) for row in c.exec_driver_sql(f"{count} GROUP BY c.kind")}
            embedded = c.exec_driver_sql(
                f"{count} JOIN embedding e ON e.chunk_id = k.id WHERE e.model_id = ? GROUP BY c.kind", (model_id,)
            )
            for kind, number in embedded:
                chunks[kind] -= int(number)
            return {kind: number for kind, number in chunks.items() if number > 0}

    def wrong_length(self, model_id: int, dim: int) -> list[int]:
        """Returns the ids of chunks whose vector under a model is not `dim` numbers of float16."""
        with self._database.reader() as c:
            query = "SELECT chunk_id FROM embedding WHERE model_id = ? AND length(vector) <> ?"
            return [r[0] for r in c.exec_driver_sql(query, (model_id, 2 * dim))]

    def lacks(self, digest: bytes, model_id: int) -> bool:
        """Whether a chunk of a content has no vector under a model."""
        with self._database.reader() as c:
            query = (
                "SELECT 1 FROM chunk k WHERE k.content_hash = ? AND NOT EXISTS"
                " (SELECT 1 FROM embedding e WHERE e.chunk_id = k.id AND e.model_id = ?) LIMIT 1"
            )
            return c.exec_driver_sql(query, (digest, model_id)).first() is not None


def _previous(c: sa.Connection) -> tuple[str, float]:
    """Returns the name and the time of the setting PREVIOUS; an empty name without it."""
    value = c.execute(sa.select(setting.c.value).where(setting.c.name == PREVIOUS)).scalar()
    name, until = json.loads(value) if value else ("", 0.0)
    return str(name), float(until)


def _delete_old(c: sa.Connection, *, keep: str) -> None:
    """Delete the models that neither answer nor are being built, with their vectors, except the one named `keep`."""
    ids = c.execute(sa.select(model.c.id).where(model.c.state == "old", model.c.name != keep)).scalars().all()
    c.execute(sa.delete(embedding).where(embedding.c.model_id.in_(ids)))
    c.execute(sa.delete(model).where(model.c.id.in_(ids)))
    if not keep:
        c.execute(sa.delete(setting).where(setting.c.name == PREVIOUS))
