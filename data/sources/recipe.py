"""The 25 training subsets of VLM2Vec-V2: `vlm2vec_v2.yaml` declares them, four parsers read them.

Built around one function per family that turns a row into a `Pair` with the original's exact prompts. The YAML file
declares the repository, files, weight, row limit and licence of each subset. Files have the layout of
`python -m data.download`: `<root>/<hub repository>/…`. It knows nothing of mixing or of batches.
"""

from __future__ import annotations

import ast
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import lru_cache, partial
from importlib import resources
from pathlib import Path
from typing import Any

from data.sources.packed import FOLDER, PackedRows, is_packed
from data.sources.pair import IMAGE, VIDEO, Media, MissingMedia, MissingSubset, Pair, Side, SourceError
from data.sources.rows import Row, RowTable, open_rows
from data.sources.source import Source, StoredRows

MMEB_TOKEN = "<|image_1|>"


@dataclass(frozen=True)
class Subset:
    """One declared subset; see the head of `vlm2vec_v2.yaml` for the fields."""

    name: str
    parser: str
    repo: str
    rows: str
    weight: float
    licence: str
    media: str = ""
    limit: int | None = None
    columns: tuple[str, ...] | None = None
    options: Mapping[str, Any] = field(default_factory=dict)


@lru_cache
def subsets() -> dict[str, Subset]:
    """Returns the declared subsets by name."""
    import yaml

    text = resources.files("data.sources").joinpath("vlm2vec_v2.yaml").read_text(encoding="utf-8")
    out: dict[str, Subset] = {}
    for family in yaml.safe_load(text)["families"]:
        for subset in family.pop("subsets"):
            fields = family | subset
            fields["rows"] = fields["rows"].format(name=fields["name"])
            if fields.get("columns"):
                fields["columns"] = tuple(fields["columns"])
            out[fields["name"]] = Subset(**fields)
    return out


def open_subset(name: str, data_root: Path, limit: int | None = None) -> Source:
    """Returns a declared subset below `data_root`. Raises `SourceError` if it is unknown or not downloaded."""
    if name not in subsets():
        import difflib

        near = difflib.get_close_matches(name, subsets(), 1)
        hint = f"; did you mean {near[0]}?" if near else f"; known are {', '.join(subsets())}"
        raise SourceError(f"datasets: no subset of the recipe is called {name!r}{hint}")
    return RecipeSource(subsets()[name], data_root, limit)


class RecipeSource(StoredRows):
    def __init__(self, subset: Subset, data_root: Path, limit: int | None = None) -> None:
        self.name, self.licence = subset.name, subset.licence
        repo = Path(data_root).expanduser() / subset.repo
        files, packed = subset_files(subset, data_root), packed_folder(subset, data_root)
        limits = [n for n in (limit, subset.limit) if n is not None]
        most = min(limits) if limits else None
        is_ready = is_packed(packed, files, subset.columns)
        self._rows: RowTable = PackedRows(packed, most) if is_ready else open_rows(files, subset.columns, most)
        if not is_ready and len(self._rows.groups) > self._rows.open_groups:
            self.advice = (
                f"{subset.name}: each loader process reads its rows with the groups of {self._rows.groups.max()} rows "
                f"they lie in; `python -m data.sources.pack --root {data_root} {subset.name}` writes them once so that "
                "a row is one read"
            )
        self._parse: Callable[[Row, int], Pair] = partial(
            PARSERS[subset.parser], subset=subset, media_root=repo / subset.media
        )

    def __getitem__(self, row: int) -> Pair:
        try:
            pair = self._parse(self._rows[row], row)
        except (KeyError, TypeError, IndexError, AttributeError) as error:
            raise SourceError(f"{self.name}, row {row}: not as declared ({type(error).__name__}: {error})") from error
        if not all(side.text or side.media for side in (pair.query, pair.positive)):
            raise MissingMedia(f"{self.name}, row {row}: its query or its target is empty")
        return pair


def subset_files(subset: Subset, data_root: Path) -> list[Path]:
    """Returns the row files of a subset, in order. Raises `MissingSubset` if there are none."""
    repo = Path(data_root).expanduser() / subset.repo
    files = sorted(repo.glob(subset.rows))
    if not files:
        raise MissingSubset(
            subset.name,
            f"{subset.name}: nothing at {repo / subset.rows}; fetch it with "
            f"`python -m data.download --root {data_root} --only train/{subset.name}`",
        )
    return files


def packed_folder(subset: Subset, data_root: Path) -> Path:
    """Returns the folder of a subset's packed rows, whether it is there or not."""
    return Path(data_root).expanduser() / subset.repo / FOLDER / subset.name


def mmeb(row: Row, number: int, *, subset: Subset, media_root: Path) -> Pair:
    """MMEB-train: a text and an image path per side, with the newlines of the data."""

    def side(text: str | None, path: str | None, role: str) -> Side:
        media = Media("image", str(_image_path(media_root, path))) if path else None
        return Side((text or "").replace(MMEB_TOKEN, IMAGE), media, exact=True, role=role)  # type: ignore[arg-type]

    negatives = tuple(
        side(text, path, "document")
        for text, path in zip(_texts(row.get("neg_text")), _texts(row.get("neg_image_path")), strict=False)
        if text or path
    )
    return Pair(
        side(_single(row["qry"]), _single(row["qry_image_path"]), "query"),
        side(_single(row["pos_text"]), _single(row["pos_image_path"]), "document"),
        negatives,
        subset.name,
        number,
    )


def vidore(row: Row, number: int, *, subset: Subset, media_root: Path) -> Pair:
    """colpali_train_set, as in the original: from page and question to the answer."""
    query = Side(f"{IMAGE} {row['query']}", _stored_image(row, subset, number), exact=True, role="query")
    return Pair(query, Side(str(row["answer"]), exact=True), (), subset.name, number)


def visrag(row: Row, number: int, *, subset: Subset, media_root: Path) -> Pair:
    """VisRAG in-domain: each corpus has a prompt for both sides; the page token comes last."""
    corpus = str(row["source"])
    query_prompt = subset.options["query_prompts"].get(corpus, "")
    target_prompt = subset.options["target_prompts"].get(corpus, "")
    query = f"{query_prompt} {row['query']} " if query_prompt else f"{row['query']} "
    target = f"{target_prompt}  {IMAGE}" if target_prompt else f" {IMAGE}"
    return Pair(
        Side(query, exact=True, role="query"),
        Side(target, _stored_image(row, subset, number), exact=True),
        (),
        subset.name,
        number,
    )


def llavahound(row: Row, number: int, *, subset: Subset, media_root: Path) -> Pair:
    """LLaVA-Hound: clip -> caption, caption -> clip (`retrieval`), clip and question -> answer (`qa`)."""
    question, answer = (turn["value"] for turn in row["conversations"][:2])
    clip = Media("frames", str(media_root / str(row["video"])))
    direction = subset.options["direction"]
    if direction == "retrieval":
        query = Side(f"Find a video that contains the following visual content: {answer}", exact=True, role="query")
        target = Side(f"Understand the content of the provided video: {VIDEO}", clip, exact=True)
        return Pair(query, target, (), subset.name, number)
    prompt = question.replace("<video>", VIDEO)
    if VIDEO not in prompt:
        prompt = f"{VIDEO}\n{prompt}"
    if direction == "qa":
        prompt = f"Answer a question based on the content of a video. {prompt}"
    return Pair(Side(prompt, clip, exact=True, role="query"), Side(answer, exact=True), (), subset.name, number)


PARSERS: dict[str, Callable[..., Pair]] = {"mmeb": mmeb, "vidore": vidore, "visrag": visrag, "llavahound": llavahound}


def _single(value: Any) -> str | None:
    """Returns a text that is stored as a text or as a list of one."""
    text: str | None = (value[0] if value else None) if isinstance(value, list) else value
    return text


def _texts(value: Any) -> list[str]:
    """Returns texts that are stored as a list, as the text of a Python list, or as one text."""
    if isinstance(value, str) and value.startswith("["):
        try:
            value = ast.literal_eval(value)
        except (ValueError, SyntaxError):
            return [value]
    if value is None:
        return []
    return [str(v) for v in value] if isinstance(value, list) else [str(value)]


def _image_path(root: Path, path: str) -> Path:
    """Some rows name images without the top folder `images/` of the archives."""
    return root / path if (root / path).exists() else root / "images" / path


def _stored_image(row: Row, subset: Subset, number: int) -> Media:
    """Reads an image column: a mapping of `bytes` and `path`, or bytes."""
    image = row["image"]
    if isinstance(image, Mapping):
        return Media("image", str(image.get("path") or f"{subset.name} row {number}"), data=image["bytes"])
    return Media("image", f"{subset.name} row {number}", data=image)
