"""A library of any size in a few seconds: real vectors mixed, Zipf's words, no files behind it.

Built around the catalogue's own tables, filled in bulk. The vectors are those of real texts and
pictures under lite, mixed and disturbed, so that neighbourhoods are as uneven as in life.
"""

from __future__ import annotations

import json
from datetime import datetime, timedelta
from pathlib import Path

import numpy as np

from data.media.metadata import GENERATION
from indexer.catalogue.catalogue import Catalogue
from model.inputs import Input
from model.lite.embedder import LiteEmbedder

WORDS = 30_000
KINDS = ("image", "image", "image", "video", "pdf")
BATCH = 5000


def seeds(embedder: LiteEmbedder, n: int = 400) -> np.ndarray:
    """float32 [n, dim] of documents of all sorts: names of things as texts, drawings as pictures."""
    from tests.indexer.written_library import drawing

    rng = np.random.default_rng(3)
    names = (Path(__file__).resolve().parents[2] / "docs" / "architecture.md").read_text("utf-8").split()
    texts = [" ".join(rng.choice(names, 12)) for _ in range(n // 2)]
    inputs = [Input(text=t, kind="pdf") for t in texts]
    inputs += [Input(images=(drawing(seed),), kind="image") for seed in range(n - len(texts))]
    return embedder.embed(inputs)


def mixed(seed_vectors: np.ndarray, n: int, rng: np.random.Generator, noise: float = 0.6) -> np.ndarray:
    """float32 [n, dim] of unit length: two seeds in uneven shares, and noise of the seeds' own shape."""
    a, b = rng.integers(0, len(seed_vectors), (2, n))
    share = rng.beta(0.6, 0.6, (n, 1)).astype(np.float32)
    x = share * seed_vectors[a] + (1 - share) * seed_vectors[b]
    spread = seed_vectors - seed_vectors.mean(0)
    for _ in range(3):
        c = rng.integers(0, len(seed_vectors), n)
        x += noise * rng.standard_normal((n, 1)).astype(np.float32) * spread[c] / 2
    x += 0.2 * rng.standard_normal(x.shape).astype(np.float32) / np.sqrt(x.shape[1])
    return x / np.linalg.norm(x, axis=1, keepdims=True)


def make(
    path: Path, n: int, embedder: LiteEmbedder, seed: int = 0, apart: timedelta = timedelta(seconds=1)
) -> Catalogue:
    """A catalogue of n chunks: photographs, ten windows a video, twenty pages a PDF of 120 words each; `apart`: the
    time between two chunks."""
    rng = np.random.default_rng(seed)
    catalogue = Catalogue(path)
    model = catalogue.models.add(embedder.id, embedder.dim, json.dumps({"name": "lite"}))
    root = catalogue.files.set_root(Path("/made"))
    seed_vectors = seeds(embedder)
    vocabulary = np.array([f"w{i:05}" for i in range(WORDS)])
    shares = 1 / np.arange(1, WORDS + 1)
    shares /= shares.sum()
    made = 0
    while made < n:
        with catalogue.database.writer() as c:
            chunks, contents, files, names, vectors = [], [], [], [], []
            words = vocabulary[rng.choice(WORDS, (BATCH + 20, 120), p=shares)]  # drawn one by one they take minutes
            while len(chunks) < BATCH and made + len(chunks) < n:
                kind = KINDS[len(contents) % len(KINDS)]
                size = {"image": 1, "video": 10, "pdf": 20}[kind]
                size = min(size, n - made - len(chunks))
                number = made + len(chunks) + 1
                digest = number.to_bytes(32, "big")
                contents.append((digest, kind, GENERATION))
                name = f"{kind}{number}"
                taken = (datetime(2017, 7, 14, 2, 40) + number * apart).isoformat()
                files.append(
                    (number, root, f"/made/{number % 97}/{name}", f"/made/{number % 97}", name, kind, digest, taken)
                )
                names.append((number, name, f"made {number % 97}"))
                for ordinal in range(size):
                    text = " ".join(words[len(chunks)]) if kind == "pdf" else ""
                    window = (ordinal * 30.0, ordinal * 30.0 + 30) if kind == "video" else (None, None)
                    chunks.append(
                        (number + ordinal, digest, ordinal, *window, ordinal + 1 if kind == "pdf" else None, text)
                    )
            vectors = mixed(seed_vectors, len(chunks), rng).astype("<f2")
            c.exec_driver_sql("INSERT INTO content (hash, kind, state, facts) VALUES (?, ?, 'ready', ?)", contents)
            c.exec_driver_sql(
                "INSERT INTO file (id, root_id, path, folder, name, kind, size, mtime_ns, ctime_ns,"
                " content_hash, taken, state, taken_from) VALUES (?, ?, ?, ?, ?, ?, 1000, 1, 1, ?, ?, 'known', 'exif')",
                files,
            )
            c.exec_driver_sql("INSERT INTO names (rowid, name, folder) VALUES (?, ?, ?)", names)
            c.exec_driver_sql(
                "INSERT INTO chunk (id, content_hash, ordinal, start_s, end_s, page, text)"
                " VALUES (?, ?, ?, ?, ?, ?, ?)",
                chunks,
            )
            c.exec_driver_sql(
                "INSERT INTO embedding (chunk_id, model_id, vector) VALUES (?, ?, ?)",
                [(row[0], model.id, v.tobytes()) for row, v in zip(chunks, vectors, strict=True)],
            )
            made += len(chunks)
    return catalogue
