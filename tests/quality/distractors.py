"""A library around the sample set, at least twenty times its size, that answers none of its questions.

    python -m tests.quality.distractors FOLDER      (part of `make bench-quality`)

Built around public packages fetched by version and SHA-256: drawings and icons under their own names,
figures and photographs of a handbook, manuals of number theory, group theory, circuit simulation, molecular
dynamics and backups. Out of their pictures come more, as a person's folder holds more of everything: flipped
crops and collages (named as cameras name), and films that pan over two of them. All of these, and one page
in `PAGE_EVERY`, are really embedded, as the indexer would, and kept beside the packages by the model's id,
whatever is asked. What is still missing to `TIMES` the sample set is vectors alone: two real ones of a kind
mixed and disturbed. Words in these pictures are not read (OCR).

That they hold no answers is seen to by what is taken (no animals, food, plants, people, games, music, sky;
no manual of Debian or of plotting), then by sight (photographs of the handbook, icons that stood above the line), and
then by word: a picture or film is left out when its name or folder has a word of any question that says what a thing
is, a page when it holds all words of one.
"""

from __future__ import annotations

import gzip
import hashlib
import io
import json
import re
import subprocess
import sys
import tarfile
import tempfile
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from functools import partial
from itertools import count, islice
from pathlib import Path, PurePosixPath
from typing import Literal

import numpy as np
from PIL import Image

from data import reader
from data.media import image as images
from data.media import pdf
from data.media.kinds import MediaError
from data.span import Span
from indexer.catalogue.catalogue import Catalogue
from model.embedder import Embedder
from model.inputs import Input

TIMES = 20
"""Distractors for every chunk of the sample set."""

CROPS, COLLAGES, FILMS, WINDOWS = 2500, 1500, 300, 3
PAGE_EVERY = 3
"""Of 4,600 pages; all of them took longer to embed than all pictures and films."""
MIN_SIDE, CROP_SIDE = 32, 96
BATCH, PART = 64, 1024
MADE = f"{CROPS}-{COLLAGES}-{FILMS}x{WINDOWS}-{PAGE_EVERY}"
"""What the kept vectors are of; another recipe is kept beside."""

PACKAGES = {
    "gimp-help-en=2.10.34-2": "a2deec76763aaf2fcdd197bac0736cdcb0770ba993d48d233329e1c92b0bfe36",
    "oxygen-icon-theme=5:5.103.0-1": "3e49023e148906e41457a98a19a09858ddd761ef4f212fa356232924b3cebcce",
    "openclipart-png=1:0.18+dfsg-19": "f07f1545a2970c2cf3fa339bc2405da1a95cf2b1827bfa05bf73eb1c20291c02",
    "pari-doc=2.15.2-1": "6806e4ab123811d7234dd3330941a0ab777562708109ccbce7fc8907226deddc",
    "bacula-doc=9.6.7-2": "64c2cd53ecbc1b19a59fa86992729679cfd8d5d2e0b5fc80cafdaa442058bf3f",
    "gap-doc=4.12.1-2": "ceaaee8ae7870d71353d7846ac39575a9a32f87b36928b8037139a54938bd7ab",
    "ngspice-doc=39.3+ds-1": "65153e2a2974781507c2331e59ab1f9333b0cffc72388188eb2c0e0ffba2767a",
    "lammps-doc=20220106.git7586adbb6a+ds1-2": ("01590d1138bc7ee3496ea546cef76c855db2ec5dbc8c7a842582cf86ee9e7273"),
}
"""265 MB of Debian 12."""

NOT_TAKEN = re.compile(
    r"openclipart/png/(animals|food|plants|people|unsorted|recreation|shapes/stars|geography/astronomy|science"
    r"|signs_and_symbols/flags|transportation|[^/]*$)|/(16x16|22x22|32x32|8x8|scalable)/|/(lang|l10n)/"
)
"""Where answers would be, and icons too small to tell anything."""

SHOWS_ANSWERS = re.compile(
    r"gimp-help-en/((artistic|auto|blur|color-management|combine|components|decor|desaturate|distort|edge-detect|enhance"
    r"|examples|filters|generic|light-and-shadow|map|math|noise|render|select|tone-mapping|tutorials)/"
    r"|using/(default-layer|legacy-layer|select-move|threshold|pointer|single|save-image)|colors/ColorToAlpha|menus/taj"
    r"|image/canvas|layer/(boundary|composite)|tool-options/(brush-g|draw-mask|lockbrush)|dialogs/navigation)"
    r"|.*/(applications-(development|toys|engineering|education)|folder-development|preferences-(system|other)|configure-"
    r"|application-x-(java|perl)|java|kolf|ktip|digikam|showfoto|gwenview|layer-visible|im-(qq|icq)|bookmarks|favorites"
    r"|scribus|krecipes|color-picker|view-bank|pansement)"
)
"""What was looked through and shows ducks, a squirrel, a dog, flamingos, flowers, fruit, cars, guards, a palace,
hammers, wrenches and the like under other names. It is embedded with the rest and then left out."""

_DECIDES_NOTHING = """
red green blue yellow black white orange pink purple grey gray brown dark light colour color colorful
colourful big large small little tiny old new modern baby sitting sleeping open closed sliced folded round
page pages text list data file files version time times date dates system window windows box line lines
point points size type input output sign letter write install remove update build source package packages
options error message template tool description account information names name code two three one four
first second large long short right left up down back front top bottom close home world all other any
people person common called used using look looking what means mean best can does use view action actions
"""
DECIDES_NOTHING = frozenset(_DECIDES_NOTHING.split())
"""Words of questions that a thing may have in its name and yet be another."""


@dataclass(frozen=True)
class Distractor:
    """A chunk: what the catalogue says of it. `path` is made up for what was cut or joined of `made_of`."""

    kind: Literal["image", "video", "pdf"]
    path: str
    ordinal: int = 0
    page: int | None = None
    text: str = ""
    made_of: tuple[str, ...] = ()


def fetch(folder: Path, say: Callable[[str], None] = print) -> None:
    """Put pictures and manuals of the packages into `folder`, once; what cannot be had is said."""
    for package, digest in PACKAGES.items():
        name = package.partition("=")[0]
        done = folder / f".{name}-{digest[:12]}"
        if done.exists():
            continue
        with tempfile.TemporaryDirectory() as scratch:
            try:
                subprocess.run(["apt-get", "download", package], cwd=scratch, check=True, capture_output=True)
            except (OSError, subprocess.CalledProcessError) as error:
                say(f"skipped {package}: {error}")
                continue
            deb = next(Path(scratch).glob("*.deb"))
            if hashlib.sha256(deb.read_bytes()).hexdigest() != digest:
                say(f"skipped {package}: its SHA-256 is not the pinned one")
                continue
            _unpack(deb, folder / name)
        done.touch()


def _unpack(deb: Path, folder: Path) -> None:
    with (
        subprocess.Popen(["dpkg", "--fsys-tarfile", deb], stdout=subprocess.PIPE) as unpacking,
        tarfile.open(fileobj=unpacking.stdout, mode="r|") as archive,
    ):
        for entry in archive:
            name = PurePosixPath(entry.name.removeprefix("./").removesuffix(".gz"))
            if not entry.isfile() or name.suffix.lower() not in (".png", ".jpg", ".pdf"):
                continue
            if NOT_TAKEN.search(str(name)):
                continue
            stream = archive.extractfile(entry)
            assert stream is not None
            content = stream.read()
            if entry.name.endswith(".gz"):
                content = gzip.decompress(content)
            target = folder.joinpath(*name.parts[-2:])
            if name.suffix.lower() != ".pdf" and not _large_enough(content):
                continue
            if target.exists() and target.stat().st_size >= len(content):
                continue  # an icon comes in several sizes
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_bytes(content)


def _large_enough(content: bytes) -> bool:
    try:
        with Image.open(io.BytesIO(content)) as opened:
            return min(opened.size) >= MIN_SIDE
    except (OSError, Image.DecompressionBombError):
        return False


# -- what answers a question -------------------------------------------------------------------


def words_of(text: str) -> frozenset[str]:
    """Its words without their commonest endings, lower case."""
    found = re.findall(r"[a-z]{3,}", re.sub(r"([a-z])([A-Z])", r"\1 \2", text).lower())
    return frozenset(re.sub(r"(?<=...)e$", "", re.sub(r"(?<=...)(ings?|ed|s)$", "", word)) for word in found)


class Answers:
    """Whether something might answer one of the questions, by its words."""

    def __init__(self, questions: Iterable[str]) -> None:
        from indexer.search.text_search import STOP_WORDS

        nothing = words_of(" ".join(DECIDES_NOTHING | STOP_WORDS)) | STOP_WORDS
        self.questions = list(questions)
        self._questions = [words_of(q) - words_of(" ".join(STOP_WORDS)) for q in self.questions]
        self._things = frozenset().union(*self._questions) - nothing

    def named(self, path: PurePosixPath | Path) -> bool:
        return bool(words_of(f"{path.parent.name} {path.stem}") & self._things)

    def written(self, text: str) -> bool:
        held = words_of(text)
        return any(len(q) > 1 and q <= held for q in self._questions)

    def held_by(self, fact: Distractor) -> bool:
        if fact.kind == "pdf":
            return self.written(fact.text)
        paths = fact.made_of or (fact.path,)
        return any(SHOWS_ANSWERS.match(path) or self.named(PurePosixPath(path)) for path in paths)


# -- the distractors ---------------------------------------------------------------------------


Reads = Callable[[], Input]


def everything(folder: Path) -> Iterator[tuple[Distractor, Reads]]:
    """All that is really embedded, in a fixed order, read only when asked, out of what `fetch` filled."""
    seen: set[str] = set()
    pictures: list[Path] = []
    for path in sorted(folder.rglob("*")):
        if path.suffix.lower() not in (".png", ".jpg"):
            continue
        digest = hashlib.sha256(path.read_bytes()).hexdigest()
        if digest not in seen:
            seen.add(digest)
            pictures.append(path)
            yield Distractor("image", str(path.relative_to(folder))), partial(_picture, path)
    yield from _cut_and_joined(folder, pictures)
    manuals = {hashlib.sha256(path.read_bytes()).hexdigest(): path for path in sorted(folder.rglob("*.pdf"))}
    for path in sorted(manuals.values()):
        with pdf.open_pdf(path) as document:
            numbers = range(1, document.pages + 1, PAGE_EVERY)
            texts = [document.text(number) for number in numbers]
        for number, text in zip(numbers, texts, strict=True):
            fact = Distractor("pdf", str(path.relative_to(folder)), number - 1, number, text)
            yield fact, partial(_page, path, number)


def _picture(path: Path) -> Input:
    return Input(images=(images.read_image(path, 640),), kind="image")


def _page(path: Path, number: int) -> Input:
    chunks = reader.decode(path, "pdf", [reader.ChunkSpec(number - 1, Span(page=number))], max_side=640)
    return reader.to_input(chunks[0], "pdf")


def _cut_and_joined(folder: Path, paths: list[Path]) -> Iterator[tuple[Distractor, Reads]]:
    rng = np.random.default_rng(20)
    large = [path for path in paths if min(_size(path)) >= CROP_SIDE]

    def some(n: int) -> list[Path]:
        return [large[at] for at in rng.integers(len(large), size=n)]

    def made(kind: Literal["image", "video"], name: str, of: list[Path], ordinal: int = 0) -> Distractor:
        return Distractor(kind, name, ordinal, made_of=tuple(str(path.relative_to(folder)) for path in of))

    for number in range(CROPS):
        name = f"dcim/IMG_{20170101 + number // 7}_{100_000 + 37 * number % 859_999}.jpg"
        of, where = some(1), rng.uniform(0, 1, 3)
        yield made("image", name, of), partial(_cropped, of[0], where)
    for number in range(COLLAGES):
        name = f"dcim/PANO_{20190101 + number // 5}_{100_000 + 41 * number % 859_999}.jpg"
        of = some(4)
        yield made("image", name, of), partial(_joined, of)
    for number in range(FILMS):
        for window in range(WINDOWS):
            of = some(2)
            yield made("video", f"dcim/VID_{20200101 + number}.mp4", of, window), partial(_film, of)


def _size(path: Path) -> tuple[int, int]:
    with Image.open(path) as opened:
        return opened.size


def _read(path: Path) -> np.ndarray:
    return images.read_image(path, 640)


def _cropped(path: Path, where: np.ndarray) -> Input:
    """Flipped, and half to four fifths of each side of it."""
    picture = _read(path)
    height, width = (max(16, int(side * (0.5 + 0.3 * where[0]))) for side in picture.shape[:2])
    top = int((picture.shape[0] - height) * where[1])
    left = int((picture.shape[1] - width) * where[2])
    part = np.ascontiguousarray(picture[top : top + height, left : left + width][:, ::-1])
    return Input(images=(part,), kind="image")


def _joined(paths: list[Path]) -> Input:
    tiles = [_tile(_read(path), 160) for path in paths]
    rows = [np.concatenate(tiles[:2], 1), np.concatenate(tiles[2:], 1)]
    return Input(images=(np.concatenate(rows),), kind="image")


def _film(paths: list[Path]) -> Input:
    return Input(video=np.stack([frame for path in paths for frame in _pan(_read(path), 4)]), kind="video")


def _tile(picture: np.ndarray, side: int) -> np.ndarray:
    least = min(picture.shape[:2])
    top, left = (picture.shape[0] - least) // 2, (picture.shape[1] - least) // 2
    square = Image.fromarray(np.ascontiguousarray(picture[top : top + least, left : left + least]))
    return np.asarray(square.resize((side, side), Image.Resampling.BILINEAR))


def _pan(picture: np.ndarray, n: int) -> list[np.ndarray]:
    """n squares from one corner of a picture to the other."""
    side = int(min(picture.shape[:2]) * 0.7)
    tops = np.linspace(0, picture.shape[0] - side, n).astype(int)
    lefts = np.linspace(0, picture.shape[1] - side, n).astype(int)
    return [_tile(picture[t : t + side, x : x + side], 224) for t, x in zip(tops, lefts, strict=True)]


def embedded(
    folder: Path, embedder: Embedder, answers: Answers, say: Callable[[str], None] = print
) -> tuple[list[Distractor], np.ndarray]:
    """What `everything` gives and answers no question, with float32 vectors [n, dim].

    All of it is embedded once for a model, whatever is asked, and kept in `folder`; it goes on where it was
    stopped, as every `PART` are kept when they are done.
    """
    kept = folder / "vectors" / f"{re.sub(r'[^0-9a-z]+', '-', embedder.id)}-{MADE}"
    kept.mkdir(parents=True, exist_ok=True)
    if not (kept / "all").exists():
        source = everything(folder)
        with ThreadPoolExecutor(1) as beside:  # one: PDF engines bear no threads
            for number in count():
                these = list(islice(source, PART))
                if not these:
                    break
                part = kept / f"{number:03}.npz"
                if not part.exists():
                    _embed(these, embedder, part, beside)
                    say(f"{number * PART + len(these)} distractors read and embedded")
        (kept / "all").touch()
    facts: list[Distractor] = []
    rows: list[np.ndarray] = []
    for part in sorted(kept.glob("*.npz")):
        with np.load(part) as stored:
            listed = [Distractor(**fact) for fact in json.loads(str(stored["facts"]))]
            here = [n for n, fact in enumerate(listed) if not answers.held_by(fact)]
            facts += [listed[n] for n in here]
            rows.append(stored["vectors"][here].astype(np.float32))
    return facts, np.concatenate(rows)


def _embed(these: list[tuple[Distractor, Reads]], embedder: Embedder, part: Path, beside: ThreadPoolExecutor) -> None:
    facts: list[Distractor] = []
    vectors = [np.zeros((0, embedder.dim), np.float32)]
    # The next batch is read while one is embedded; no more, or pictures by the thousand lie in memory.
    batches = [these[at : at + BATCH] for at in range(0, len(these), BATCH)]
    ahead = beside.submit(_read_all, batches[0])
    for number in range(len(batches)):
        read = ahead.result()
        if number + 1 < len(batches):
            ahead = beside.submit(_read_all, batches[number + 1])
        facts += [fact for fact, _ in read]
        vectors.append(embedder.embed([shown for _, shown in read]))
    listed = json.dumps([asdict(fact) for fact in facts])
    np.savez(part, facts=listed, vectors=np.concatenate(vectors).astype(np.float16))


def _read_all(batch: list[tuple[Distractor, Reads]]) -> list[tuple[Distractor, Input]]:
    result = []
    for fact, read in batch:
        try:
            result.append((fact, read()))
        except MediaError:
            continue
    return result


def padded(facts: list[Distractor], vectors: np.ndarray, n: int) -> tuple[list[Distractor], np.ndarray]:
    """At least n: what lacks is mixed out of two of a kind in uneven shares, and disturbed."""
    rng = np.random.default_rng(21)
    lacking = max(0, n - len(facts))
    chosen = rng.integers(len(facts), size=lacking)
    kinds = np.array([fact.kind for fact in facts])
    others = [int(rng.choice(np.flatnonzero(kinds == kinds[at]))) for at in chosen]
    share = rng.beta(0.6, 0.6, (lacking, 1)).astype(np.float32)
    mixed = share * vectors[chosen] + (1 - share) * vectors[others]
    mixed += 0.2 * rng.standard_normal(mixed.shape).astype(np.float32) / np.sqrt(vectors.shape[1])
    mixed /= np.linalg.norm(mixed, axis=1, keepdims=True)
    made: list[Distractor] = []
    for number, (at, other) in enumerate(zip(chosen, others, strict=True)):
        name = f"mixed/{facts[at].kind}{number}{Path(facts[at].path).suffix}"
        half = facts[at].text[: len(facts[at].text) // 2] + facts[other].text[len(facts[other].text) // 2 :]
        made.append(Distractor(facts[at].kind, name, 0, 1 if facts[at].page else None, half))
    return [*facts, *made], np.concatenate([vectors, mixed])


def fill(catalogue: Catalogue, folder: Path, facts: list[Distractor], vectors: np.ndarray) -> None:
    """Write them into a catalogue as if they had been indexed from `folder`, in one transaction."""
    model = catalogue.models.answering()
    assert model is not None
    root = catalogue.files.set_root(folder)
    with (
        catalogue.database.reader() as c
    ):  # films cut by another recipe would be pending again, and there are none to read
        recipe = c.exec_driver_sql("SELECT max(recipe) FROM content WHERE kind = 'video'").scalar() or ""
    files: dict[str, list[int]] = {}
    for number, fact in enumerate(facts):
        files.setdefault(fact.path, []).append(number)
    with catalogue.database.writer() as c:
        sql = c.exec_driver_sql
        file_id = sql("SELECT coalesce(max(id), 0) FROM file").scalar_one()
        chunk_id = sql("SELECT coalesce(max(id), 0) FROM chunk").scalar_one()
        for name, numbers in files.items():
            file_id += 1
            kind = facts[numbers[0]].kind
            path = folder / name
            digest = hashlib.sha256(name.encode()).digest()
            sql(
                "INSERT INTO content (hash, kind, state, recipe) VALUES (?, ?, 'ready', ?)",
                (digest, kind, recipe if kind == "video" else ""),
            )
            sql(
                "INSERT INTO file (id, root_id, path, folder, name, kind, size, mtime_ns, ctime_ns,"
                " content_hash, state) VALUES (?, ?, ?, ?, ?, ?, 1000, 1, 1, ?, 'known')",
                (file_id, root, str(path), str(path.parent), path.name, kind, digest),
            )
            sql(
                "INSERT INTO names (rowid, name, folder) VALUES (?, ?, ?)",
                (file_id, path.stem.replace("_", " "), f"{folder.name} {path.parent.name}"),
            )
            for ordinal, number in enumerate(numbers):
                chunk_id += 1
                fact = facts[number]
                span = (ordinal * 30.0, ordinal * 30.0 + 30.0) if kind == "video" else (None, None)
                sql(
                    "INSERT INTO chunk (id, content_hash, ordinal, start_s, end_s, page, text)"
                    " VALUES (?, ?, ?, ?, ?, ?, ?)",
                    (chunk_id, digest, fact.ordinal, *span, fact.page, fact.text),
                )
                sql(
                    "INSERT INTO embedding (chunk_id, model_id, vector) VALUES (?, ?, ?)",
                    (chunk_id, model.id, vectors[number].astype("<f2").tobytes()),
                )


def main() -> None:
    from model import load
    from tests.quality.answers import asked_texts

    if len(sys.argv) != 2:
        sys.exit("usage: python -m tests.quality.distractors FOLDER")
    folder = Path(sys.argv[1])
    fetch(folder)
    facts, _ = embedded(folder, load("lite"), Answers(asked_texts(folder.parent)))
    print({kind: sum(fact.kind == kind for fact in facts) for kind in ("image", "video", "pdf")})


if __name__ == "__main__":
    main()
