"""Any Sightline model inside mteb, and Sightline's scores in the format of mteb's result files.

Built around mteb's encoder protocol (`encode`, `similarity`, `mteb_model_meta`); the user installs mteb. Texts,
images and frames go to `Embedder.embed` unchanged, with the role that mteb gives and the task's own prompt as
instruction. It knows nothing of tasks' scores.
"""

from __future__ import annotations

import io
import json
import re
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from model.embedder import Embedder
from model.inputs import Input
from model.loading import load

TIFF_ALONE = ("CMYK", "F", "LAB")
"""Modes of Pillow's images that a TIFF holds and a PNG does not."""


class MtebModel:
    """`mteb.evaluate(MtebModel("lite"), tasks)`. `model`: a name or folder for `model.load`, or an `Embedder`."""

    def __init__(self, model: str | Embedder, revision: str | None = None, device: str | None = None, **more: Any):
        self.embedder = load(model, device=device or "auto", **more) if isinstance(model, str) else model
        self._name = model if isinstance(model, str) else self.embedder.id.split("@")[0]
        self._revision = revision or self.embedder.id.rpartition("@")[2]

    def encode(
        self,
        inputs: Iterable[Mapping[str, Any]],
        *,
        task_metadata: Any = None,
        hf_split: str = "",
        hf_subset: str = "",
        prompt_type: Any = None,
        **_more: Any,
    ) -> np.ndarray:
        """Returns float32 [n, dim]. `inputs`: batches with lists under `text`, `image`, `video`."""
        side = getattr(prompt_type, "value", prompt_type)
        role = "query" if side == "query" else "document"
        page = "document" in str(getattr(task_metadata, "type", "")).lower()
        instruction = _instruction(getattr(task_metadata, "prompt", None), side)
        parts = [self.embedder.embed(_inputs(batch, role, page, instruction)) for batch in inputs]
        return np.concatenate(parts) if parts else np.empty((0, self.embedder.dim), np.float32)

    def similarity(self, embeddings1: Any, embeddings2: Any) -> np.ndarray:
        """Returns float32 [n, m]: dot products; the rows are unit vectors."""
        return np.asarray(np.atleast_2d(_array(embeddings1)) @ np.atleast_2d(_array(embeddings2)).T)

    def similarity_pairwise(self, embeddings1: Any, embeddings2: Any) -> np.ndarray:
        """Returns float32 [n]: the dot product of row i with row i."""
        rows1, rows2 = np.atleast_2d(_array(embeddings1)), np.atleast_2d(_array(embeddings2))
        return np.asarray(np.einsum("nd,nd->n", rows1, rows2))

    @property
    def mteb_model_meta(self) -> Any:
        """An `mteb.models.ModelMeta` with name, revision and dimension."""
        from mteb.models import ModelMeta

        fields = {
            "name": f"sightline/{re.sub(r'[^A-Za-z0-9._-]+', '-', Path(self._name).name)}",
            "revision": self._revision,
            "embed_dim": self.embedder.dim,
            "modalities": ["text", "image", "video"],
            "similarity_fn_name": "cosine",
            "use_instructions": True,
        }
        return ModelMeta.create_empty(overwrites=fields)


def _instruction(prompt: Any, side: str | None) -> str | None:
    """Returns the instruction of a task's own prompt: a text for all but documents, or one for each side; None if the
    task has none, then the model's default counts."""
    if isinstance(prompt, Mapping):
        return str(prompt.get(side) or "").strip() or None
    return None if side == "document" else str(prompt or "").strip() or None


def _inputs(batch: Mapping[str, Any], role: Any, page: bool, instruction: str | None) -> list[Input]:
    texts, images, clips = (batch.get(name) for name in ("text", "image", "video"))
    count = len(next(part for part in (texts, images, clips) if part is not None))
    out = []
    for i in range(count):
        image = _image(images[i]) if images is not None else None
        clip = _frames(clips[i]) if clips is not None else None
        kind: Any = "video" if clip is not None else "image" if image is not None else "text"
        out.append(
            Input(
                text=(texts[i] or None) if texts is not None else None,
                images=() if image is None else (image,),
                video=clip,
                instruction=instruction,
                role=role,
                kind="pdf" if page and kind != "video" else kind,
            )
        )
    return out


def _image(image: Any) -> np.ndarray | None:
    """Returns uint8 [H, W, 3] of a PIL image, read as the library reads a file, or of an array."""
    if image is None:
        return None
    if not hasattr(image, "convert"):
        return np.asarray(image, dtype=np.uint8)
    from PIL import ImageOps

    from data.media.image import read_image

    upright = ImageOps.exif_transpose(image)
    if upright.mode in ("YCbCr", "HSV"):
        upright = upright.convert("RGB")
    profile = image.info.get("icc_profile")
    if upright.mode == "RGB" and not profile and "transparency" not in upright.info:
        return np.asarray(upright)
    # Transparency, 16 bits, CMYK …: the library's reader decodes lossless bytes of the image.
    stream = io.BytesIO()
    upright.save(stream, "TIFF" if upright.mode in TIFF_ALONE else "PNG", icc_profile=profile)
    return read_image(stream.getvalue())


def _frames(clip: Any) -> np.ndarray | None:
    """Returns uint8 [T, H, W, 3]. mteb's frames are [T, 3, H, W] tensors or arrays, sometimes in a mapping."""
    if clip is None:
        return None
    frames = _array(clip["frames"] if isinstance(clip, Mapping) else clip)
    if frames.ndim == 4 and frames.shape[1] == 3 and frames.shape[3] != 3:
        frames = frames.transpose(0, 2, 3, 1)
    return np.ascontiguousarray(frames, dtype=np.uint8)


def _array(values: Any) -> np.ndarray:
    return values.detach().cpu().numpy() if hasattr(values, "detach") else np.asarray(values)


def results_file(output: Path, name: str, to: Path | None = None) -> list[Path]:
    """Write the scored tasks of the model `name` in `output` as mteb's `TaskResult` files. Returns their paths.

    The folder is `to`, by default `<output>/mteb/<model>`.
    """
    from eval.runner import slug
    from eval.task_list import all_tasks

    folder = to or output / "mteb" / slug(name)
    folder.mkdir(parents=True, exist_ok=True)
    paths: list[Path] = []
    for task in all_tasks():
        path = output / "mmeb" / slug(name) / f"{task.name}.json"
        if path.exists():
            outcome = json.loads(path.read_text("utf-8"))
            scores = {name.replace("@", "_at_"): value for name, value in outcome["scores"].items()}
            main = {"main_score": outcome["scores"][task.metric], "hf_subset": "default", "languages": ["eng-Latn"]}
            result = {
                "dataset_revision": task.source.repo,
                "task_name": f"MMEB-V2/{task.name}",
                "mteb_version": None,
                "scores": {task.source.split: [main | scores]},
                "evaluation_time": outcome["seconds"],
                "kg_co2_emissions": None,
            }
            paths.append(folder / f"{task.name}.json")
            paths[-1].write_text(json.dumps(result, indent=2), "utf-8")
    return paths
