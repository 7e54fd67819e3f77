"""The models that have vectors in a library, and the chunks without a vector under a model.

Built around the table `model`: one row is `answering`; after a switch of the model another one is `building`
until all chunks have its vectors. It knows nothing of loading a model.
"""

from __future__ import annotations

import sqlalchemy as sa

from indexer.catalogue.database import Database
from indexer.catalogue.rows import ModelRow
from indexer.catalogue.schema import embedding, model


class Models:
    def __init__(self, database: Database) -> None:
        self._database = database

    def all(self) -> list[ModelRow]:
        with self._database.reader() as c:
            rows = c.execute(sa.select(model).order_by(model.c.id))
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

    def promote(self, model_id: int) -> None:
        """Let a model answer, and delete all other models with their vectors."""
        with self._database.writer() as c:
            c.execute(sa.update(model).where(model.c.id == model_id).values(state="answering"))
            c.execute(sa.delete(embedding).where(embedding.c.model_id != model_id))
            c.execute(sa.delete(model).where(model.c.id != model_id))

    def lacking(self, model_id: int) -> int:
        """Returns how many chunks have no vector under a model."""
        with self._database.reader() as c:
            query = "SELECT (SELECT count(*) FROM chunk) - (SELECT count(*) FROM embedding WHERE model_id = ?)"
            return int(c.exec_driver_sql(query, (model_id,)).scalar_one())

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
