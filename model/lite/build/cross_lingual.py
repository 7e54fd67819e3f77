"""Make `model/lite/cross_lingual.npz`: a linear map from the multilingual reading of a text to MiniLM's.

    python -m model.lite.build.cross_lingual

Built around one linear map, the ridge regression over English texts that are at hand: words of MiniLM's vocabulary, the
names of the 1,000 classes, everyday queries, and sentences of Python's documentation and of its modules' docstrings
(made with Python 3.11). The directions in which the classes differ most are taken out: what is in pictures, the
multilingual reading says better itself. Run it again when one of the two networks changes.
"""

from __future__ import annotations

import ast
import json
import re
import sysconfig
from pathlib import Path

import numpy as np

from model.lite import weights
from model.lite.build.everyday import QUERIES
from model.lite.cross_lingual import MAP
from model.lite.embedder import LiteEmbedder
from model.lite.multilingual import Multilingual
from model.lite.weights import TEXT_DIM

_RIDGE = 1.0
# In seven languages, tune / test half, at the embedder's share: right page among 498 (34 questions), right photo among
# all kinds (34 queries): without a map .530 / .517 and .365 / .469; nothing taken out .595 / .609 and .332 / .451, 32
# directions .616 / .596 and .432 / .491, 64 .625 / .571 and .405 / .474, 128 .638 / .569 and .405 / .459.
_OF_PICTURES = 32
_VOCABULARY_STEP = 5
_MOST = 4_000  # sentences of either source


def texts(folder: Path) -> list[str]:
    """English words, names, queries and sentences. `folder`: that of the weights."""
    from pydoc_data.topics import topics

    from tokenizers import Tokenizer

    vocabulary = Tokenizer.from_file(str(folder / "tokenizer.json")).get_vocab()
    words = sorted(word for word in vocabulary if word.isascii() and word.isalpha() and len(word) > 3)
    names: list[str] = json.loads((folder / "class_names.json").read_text("utf-8"))
    paragraphs = [
        part for topic in topics.values() for part in topic.split("\n\n") if "|" not in part and "::" not in part
    ]
    return [
        *words[::_VOCABULARY_STEP],
        *names,
        *QUERIES.read_text("utf-8").splitlines(),
        *_sentences(paragraphs),
        *_sentences(_docstrings(Path(sysconfig.get_path("stdlib")))),
    ]


def _docstrings(folder: Path) -> list[str]:
    """First paragraphs of those of Python's own modules, but for its tests."""
    found = []
    for path in [*sorted(folder.glob("*.py")), *sorted(folder.glob("[a-z]*/*.py"))]:
        if "test" in str(path.relative_to(folder)) or "site-packages" in path.parts:
            continue
        for node in ast.walk(ast.parse(path.read_bytes())):
            if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef):
                found.append((ast.get_docstring(node) or "").partition("\n\n")[0])
    return found


def _sentences(paragraphs: list[str]) -> list[str]:
    """At most `_MOST`, evenly taken, each once."""
    split = [re.split(r"(?<=[.;:?])\s", " ".join(paragraph.split())) for paragraph in paragraphs]
    kept = sorted({sentence for part in split for sentence in part if 25 < len(sentence) < 160})
    return kept[:: max(1, -(-len(kept) // _MOST))]


def linear_map(many: np.ndarray, english: np.ndarray, classes: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Returns float [512, 384] and what to add afterwards, [384].

    `many` [n, 512] and `english` [n, 384]: readings of the same texts; `classes` [1000, 384].
    """
    many, english, classes = (rows.astype(np.float64) for rows in (many, english, classes))
    mean, target = many.mean(axis=0), english.mean(axis=0)
    known = many - mean
    solved = np.linalg.solve(known.T @ known + _RIDGE * np.eye(known.shape[1]), known.T @ (english - target))
    pictured = np.linalg.svd(classes - classes.mean(axis=0), full_matrices=False)[2][:_OF_PICTURES]
    others = np.eye(len(target)) - pictured.T @ pictured
    return solved @ others, (target - mean @ solved) @ others


if __name__ == "__main__":
    folder = weights.find()
    lite, reader = LiteEmbedder.load(), Multilingual(folder)
    read = texts(folder)
    solved, offset = linear_map(
        np.array([reader.embed(text) for text in read]),
        np.array([lite.read_english(lite.ids_of(text)) for text in read]),
        np.load(folder / "meanings.npy")[:, :TEXT_DIM],
    )
    scale = np.abs(solved).max() / 127
    whole = np.rint(solved / scale).astype(np.int8)
    np.savez_compressed(MAP, map=whole, scale=scale, offset=offset.astype(np.float32))
