"""The 25 training subsets of VLM2Vec-V2, declared in `vlm2vec_v2.yaml`, read by five parsers.

Built around one function a family that turns a stored row into a `Pair` with the original's exact prompts.
What differs between subsets of a family is data, in the YAML file: repository, files, weight, row limit,
licence. Files lie below the data root as `python -m data.download` puts them: `<root>/<hub repository>/…`.
It knows nothing of weights' use or of batches.
"""

from __future__ import annotations

import ast
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import lru_cache, partial
from importlib import resources
from pathlib import Path
from typing import Any

from data.sources.pair import IMAGE, VIDEO, Media, MissingMedia, Pair, Side, SourceError
from data.sources.rows import Row, open_rows
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
    """Declared subsets by name."""
    import yaml

    text = resources.files("data.sources").joinpath("vlm2vec_v2.yaml").read_text(encoding="utf-8")
    found: dict[str, Subset] = {}
    for family in yaml.safe_load(text)["families"]:
        shared = {key: value for key, value in family.items() if key != "subsets"}
        for declared in family["subsets"]:
            fields = shared | declared
            fields["rows"] = fields["rows"].format(name=fields["name"])
            if fields.get("columns"):
                fields["columns"] = tuple(fields["columns"])
            found[fields["name"]] = Subset(**fields)
    return found


def open_subset(name: str, data_root: Path, limit: int | None = None) -> Source:
    """A declared subset below `data_root`. Raises `SourceError` when it is unknown or not downloaded."""
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
        files = sorted(repo.glob(subset.rows))
        if not files:
            raise SourceError(
                f"{subset.name}: nothing at {repo / subset.rows}; fetch it with "
                f"`python -m data.download --root {data_root} --only train/{subset.name}`"
            )
        limits = [n for n in (limit, subset.limit) if n is not None]
        self._rows = open_rows(files, subset.columns, min(limits) if limits else None)
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


def mmeb(row: Row, number: int, *, subset: Subset, media_root: Path) -> Pair:
    """MMEB-train: text and image path a side; the data's own newlines are kept."""

    def side(text: str | None, path: str | None, role: str) -> Side:
        media = Media("image", str(_image_path(media_root, path))) if path else None
        return Side((text or "").replace(MMEB_TOKEN, IMAGE), media, exact=True, role=role)  # type: ignore[arg-type]

    negatives = tuple(
        side(text, path, "document")
        for text, path in zip(_listed(row.get("neg_text")), _listed(row.get("neg_image_path")), strict=False)
        if text or path
    )
    return Pair(
        side(_one(row["qry"]), _one(row["qry_image_path"]), "query"),
        side(_one(row["pos_text"]), _one(row["pos_image_path"]), "document"),
        negatives,
        subset.name,
        number,
    )


def vidore(row: Row, number: int, *, subset: Subset, media_root: Path) -> Pair:
    """colpali_train_set, as the original frames it: page and question against the stored answer."""
    query = Side(f"{IMAGE} {row['query']}", _stored_image(row, subset, number), exact=True, role="query")
    return Pair(query, Side(str(row["answer"]), exact=True), (), subset.name, number)


def visrag(row: Row, number: int, *, subset: Subset, media_root: Path) -> Pair:
    """VisRAG in-domain: a prompt a corpus on both sides; the page token comes last."""
    corpus = str(row["source"])
    asks = subset.options["query_prompts"].get(corpus, "")
    names = subset.options["target_prompts"].get(corpus, "")
    query = f"{asks} {row['query']} " if asks else f"{row['query']} "
    target = f"{names}  {IMAGE}" if names else f" {IMAGE}"
    return Pair(
        Side(query, exact=True, role="query"),
        Side(target, _stored_image(row, subset, number), exact=True),
        (),
        subset.name,
        number,
    )


def llavahound(row: Row, number: int, *, subset: Subset, media_root: Path) -> Pair:
    """LLaVA-Hound: clip -> caption, caption -> clip (`retrieval`), clip and question -> answer (`qa`)."""
    asked, answer = (turn["value"] for turn in row["conversations"][:2])
    clip = Media("frames", str(media_root / str(row["video"])))
    direction = subset.options["direction"]
    if direction == "retrieval":
        query = Side(f"Find a video that contains the following visual content: {answer}", exact=True, role="query")
        target = Side(f"Understand the content of the provided video: {VIDEO}", clip, exact=True)
        return Pair(query, target, (), subset.name, number)
    prompt = asked.replace("<video>", VIDEO)
    if VIDEO not in prompt:
        prompt = f"{VIDEO}\n{prompt}"
    if direction == "qa":
        prompt = f"Answer a question based on the content of a video. {prompt}"
    return Pair(Side(prompt, clip, exact=True, role="query"), Side(answer, exact=True), (), subset.name, number)


PARSERS: dict[str, Callable[..., Pair]] = {"mmeb": mmeb, "vidore": vidore, "visrag": visrag, "llavahound": llavahound}


def _one(value: Any) -> str | None:
    """A text field, stored as such or as a list of one."""
    if isinstance(value, list):
        return value[0] if value else None
    return value


def _listed(value: Any) -> list[str]:
    """A text field that may hold several: a list, or a list written out as text."""
    if isinstance(value, str) and value.startswith("["):
        try:
            value = ast.literal_eval(value)
        except (ValueError, SyntaxError):
            return [value]
    if value is None:
        return []
    return [str(v) for v in value] if isinstance(value, list) else [str(value)]


def _image_path(root: Path, path: str) -> Path:
    """Rows name images with or without the leading `images/` of the unpacked archives."""
    place = root / path
    return place if place.exists() else root / "images" / path


def _stored_image(row: Row, subset: Subset, number: int) -> Media:
    """An image column: bytes (with the name it had), or bytes alone."""
    image = row["image"]
    if isinstance(image, Mapping):
        return Media("image", str(image.get("path") or f"{subset.name} row {number}"), data=image["bytes"])
    return Media("image", f"{subset.name} row {number}", data=image)
