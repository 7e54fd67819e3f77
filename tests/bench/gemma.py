"""`make bench-model`, its second half: EmbeddingGemma 2 at its real size, transformers and egemma2 beside our graphs.

Built around a random checkpoint of the published shape (438.8 million parameters in bfloat16, without the audio tower)
and the graphs that `model.gemma.build` makes of it. Each engine is a process of its own with one thread, and is
measured in CPU seconds: an image of 480 x 640 at 280 tokens, a text query of 20 tokens; a 30-second window by its
setting; a search every second while a library changes from lite to this model. Peak memory is that of the whole
process: loading and work.

The parts run one after another, each in less than five minutes, and leave their results in a folder: `--folder DIR
--parts make q4 …` runs some of them, and the part `table` writes the results that are there, for which `torch` must be.
Without `--folder` all run in a temporary folder of 5 GB. egemma2 is left out where it is not installed.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from tests.bench import report
from tests.model.gemma.egemma import program

ROOT = Path(__file__).resolve().parents[2]
PRECISIONS = ("float32", "q4", "int8")
ENGINES = ("torch", "egemma2", *PRECISIONS)
OFFERED = "int8"
"""The precision of the windows: the one that the targets are held to on the images."""
WINDOWS = {f"{frames}x{tokens}": f"frames={frames},frame={tokens}" for tokens in (70, 140) for frames in (8, 16)}
"""The part of each setting of a window."""
PARTS = ("make", "build", *ENGINES, *WINDOWS, "switch", "table")
TARGETS = {"float32": (1.0, 1.0), "int8": (0.6, 0.5), "q4": (0.6, 0.5)}
"""At most these shares of torch's CPU seconds and of its peak memory."""
QUERY = "red dogs in "
PROMPT = "title: "
"""With <bos> and <eos> 20 tokens of the tokenizer of the tests: a query of a few words and its prompt."""
SWITCH_IMAGES, SWITCH_S = 40, 60
"""More images than the model embeds in that many seconds: every search is answered by the old one."""
IMAGE_ROUNDS, QUERY_ROUNDS = 2, 20


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--folder", type=Path, help="where checkpoint, graphs and results are, and stay")
    parser.add_argument("--parts", nargs="+", choices=PARTS, default=PARTS)
    options = parser.parse_args()
    if options.folder:
        options.folder.mkdir(parents=True, exist_ok=True)
        _run(options.folder, options.parts)
    else:
        with tempfile.TemporaryDirectory() as folder:
            _run(Path(folder), options.parts)


def _run(folder: Path, parts: tuple[str, ...]) -> None:
    environment = os.environ | {"OMP_NUM_THREADS": "1", "RAYON_NUM_THREADS": "1"}
    for part in parts:
        start = time.monotonic()
        if part == "egemma2" and program() is None:
            print("  egemma2 is not installed: pip install egemma2", file=sys.stderr)
            continue
        if part == "table":
            report.write("gemma", _table({p.stem: json.loads(p.read_text()) for p in folder.glob("*.json")}))
            continue
        code = f"from tests.bench.gemma import one; one({str(folder)!r}, {part!r})"
        subprocess.run([sys.executable, "-c", code], cwd=ROOT, env=environment, check=True)
        print(f"  {part}: {time.monotonic() - start:.0f} s", file=sys.stderr)


def one(folder_name: str, part: str) -> None:
    """Run one part in this process; its result is `part`.json in the folder."""
    from model import machine, onnx_graphs

    for module in (machine, onnx_graphs):
        module.model_threads = lambda: 1  # type: ignore[attr-defined]
    folder = Path(folder_name)
    if part == "make":
        _checkpoint(folder / "checkpoint")
    elif part == "build":
        from model.gemma.build.__main__ import build

        for precision in PRECISIONS:
            build(folder / "checkpoint", folder / precision, precision)
    else:
        work = {"torch": _torch, "egemma2": _egemma2, "switch": _switch}.get(part)
        if work is not None:
            result = work(folder)
        elif part in WINDOWS:
            result = _window(folder, WINDOWS[part])
        else:
            result = _graphs(folder, part)
        (folder / f"{part}.json").write_text(json.dumps(result))


def _checkpoint(folder: Path) -> None:
    """A random checkpoint with the published sizes; the tokenizer is that of the tests."""
    import torch
    from transformers import EmbeddingGemma2Config, EmbeddingGemma2Model, Gemma4VisionConfig

    from tests.model.gemma import tiny

    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    tiny.tokenizer(folder)
    tiny.processor(folder)
    vision = Gemma4VisionConfig().to_dict()
    config = EmbeddingGemma2Config(text_config={}, vision_config=vision, audio_config=None, **tiny.token_ids())
    torch.manual_seed(0)
    with torch.device("meta"):
        made = EmbeddingGemma2Model(config)
    made = made.to(torch.bfloat16).to_empty(device="cpu")
    for name, weight in [*made.named_parameters(), *made.named_buffers()]:
        if weight.ndim > 1:
            weight.data.normal_(std=0.02 if "table" in name or "embed_tokens" in name else weight.shape[-1] ** -0.5)
        elif name.endswith(("weight", "layer_scalar")):
            weight.data.fill_(1.0)
    made.save_pretrained(folder)


def _image() -> np.ndarray:
    """A picture with large and small shapes: random values at several scales."""
    random, shown = np.random.default_rng(0), np.zeros((480, 640, 3))
    for side in (2, 8, 32, 160):
        cells = random.standard_normal((480 // side, 640 // side, 3))
        shown += cells.repeat(side, 0).repeat(side, 1)
    return np.clip(shown * 30 + 127, 0, 255).astype(np.uint8)


def _measured(embed: Callable[[str], np.ndarray], seconds: Callable[[], float]) -> dict[str, Any]:
    """CPU seconds of an image and of a query, the best of some; and their vectors. `seconds`: spent until now."""
    result: dict[str, Any] = {"vectors": []}
    for what, rounds in (("image", IMAGE_ROUNDS), ("query", QUERY_ROUNDS)):
        spent = []
        for _ in range(rounds):
            start = seconds()
            vector = embed(what)
            spent.append(seconds() - start)
        result[what] = min(spent)
        result["vectors"].append(vector.tolist())
    return result


def _gb(field: str, process: int | str = "self") -> float:
    lines = Path(f"/proc/{process}/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith(f"{field}:")) / 2**20


def _torch(folder: Path) -> dict[str, Any]:
    """transformers' own forward pass in float32, its image processor, the mean over all tokens."""
    import torch
    from transformers import EmbeddingGemma2Model, PreTrainedTokenizerFast

    from tests.model.gemma import tiny

    torch.set_num_threads(1)
    made = EmbeddingGemma2Model.from_pretrained(folder / "checkpoint", audio_config=None, dtype=torch.float32).eval()
    tokenizer = PreTrainedTokenizerFast(tokenizer_file=str(folder / "checkpoint" / "tokenizer.json"))
    image = _image()

    def embed(what: str) -> np.ndarray:
        text, images = (PROMPT + QUERY, []) if what == "query" else ("", [image])
        for shown in images:
            text += "<|image>" + "<|image|>" * tiny.soft_tokens(shown, 280) + "<image|>"
        vector: np.ndarray = tiny.reference(made, tokenizer(text)["input_ids"], images, [], (280, 140))
        return vector

    return {"loaded": _gb("VmRSS"), **_measured(embed, time.process_time), "peak": _gb("VmHWM")}


def _inputs() -> dict[str, Any]:
    from model.inputs import Input

    return {"image": Input(images=(_image(),), kind="image"), "query": Input(QUERY, instruction=PROMPT, role="query")}


def _graphs(folder: Path, precision: str) -> dict[str, Any]:
    from model.gemma.embedder import load_gemma

    embedder = load_gemma(folder / precision)
    inputs = _inputs()
    loaded = _gb("VmRSS")
    result = _measured(lambda what: embedder.embed([inputs[what]])[0], time.process_time)
    size = sum(file.stat().st_size for file in (folder / precision / "onnx").iterdir()) / 1e9
    tokens = len(embedder._row(inputs["query"]).ids)
    assert tokens == 20, tokens
    return result | {"loaded": loaded, "peak": _gb("VmHWM"), "disk": size}


def _egemma2(folder: Path) -> dict[str, Any]:
    """The server's CPU seconds, over HTTP on this machine; the client is not counted."""
    import psutil

    from model.embedder import unit_rows
    from model.remote.chat_server import png
    from model.remote.connection import Connection
    from tests.model.gemma.egemma import serve

    parts = {"image": {"image": f"data:image/png;base64,{png(_image())}"}, "query": {"text": PROMPT + QUERY}}
    with serve(folder / "checkpoint") as (address, process):
        server, connection = psutil.Process(process.pid), Connection(address, None)

        def embed(what: str) -> np.ndarray:
            body = {"model": "checkpoint", "input": [{"parts": [parts[what]]}], "prompt": ""}
            answer = connection.post("/v1/embeddings", json=body).json()
            return unit_rows(np.array([answer["data"][0]["embedding"]], np.float32))[0]

        def seconds() -> float:
            times = server.cpu_times()
            return float(times.user + times.system)

        return {**_measured(embed, seconds), "peak": _gb("VmHWM", process.pid)}


def _window(folder: Path, detail: str) -> dict[str, Any]:
    """CPU seconds of a window of frames that all differ, and the peak memory of the process."""
    from model.gemma.embedder import load_gemma
    from model.inputs import Input

    random = np.random.default_rng(0)
    clip = random.integers(0, 256, (16, 360, 640, 3), dtype=np.uint8)
    shades = np.linspace(0.2, 1, 16)[:, None, None, None]
    clip = (clip * shades).astype(np.uint8)  # of noise alone the frames are near-equal
    embedder = load_gemma(folder / OFFERED, detail=detail)
    item = Input(video=clip, kind="video")
    row = embedder._row(item)
    start = time.process_time()
    embedder.embed([item])
    cpu = time.process_time() - start
    return {"cpu": cpu, "tokens": len(row.ids), "frames": len(row.frames), "peak": _gb("VmHWM")}


def _switch(folder: Path) -> dict[str, Any]:
    """Seconds of a search, one every second, before a library changes its model and meanwhile."""
    from indexer.library import Library
    from indexer.types import LibraryOptions, Part, Query
    from tests.media import draw_image

    with tempfile.TemporaryDirectory() as place:
        photos = Path(place) / "photos"
        photos.mkdir()
        for number in range(SWITCH_IMAGES):
            draw_image(photos / f"{number}.png", f"number {number}", (640, 480))
        options = LibraryOptions(explicit_model=False, ocr="off")
        with Library(Path(place) / "library", options, read_only=False) as library:
            library.index([photos])
            library.start(watch=False)

            def searches(count: int) -> list[float]:
                spent = []
                for number in range(count):
                    start = time.perf_counter()
                    answer = library.search(Query((Part(text=f"a picture of number {number}"),)), k=3)
                    assert answer.hits and answer.model.startswith("lite@")
                    spent.append(time.perf_counter() - start)
                    time.sleep(max(0.0, 1 - spent[-1]))
                return spent

            searches(3)
            before = searches(SWITCH_S)
            library.use_model(str(folder / OFFERED))
            return {"before": before, "during": searches(SWITCH_S)}


def _table(results: dict[str, Any]) -> str:
    """The results that are there, beside torch's."""
    if "torch" not in results:
        sys.exit("There is no result of the part torch, which all others are compared with.")
    torch = results["torch"]
    rows, lines = [], []
    for name in (engine for engine in ENGINES if engine in results):
        r = results[name]
        shares = [r[key] / torch[key] for key in ("image", "query", "peak")]
        cosines = (np.array(r["vectors"]) * np.array(torch["vectors"])).sum(1)
        rows.append([name, r["image"], r["query"], r.get("disk"), r["peak"], *shares, *(f"{c:.4f}" for c in cosines)])
        if name in TARGETS:
            cpu, memory = TARGETS[name]
            met = zip(("image", "query", "memory"), shares, (cpu, cpu, memory), strict=True)
            words = [f"{what} {'met' if share <= limit else 'missed'}" for what, share, limit in met]
            lines.append(f"- {name}, at most {cpu} of torch's CPU and {memory} of its memory: {', '.join(words)}.")
    head = ["engine", "CPU s an image", "CPU s a query", "GB on disk", "GB peak", "image / torch", "query / torch",
            "memory / torch", "cosine image", "cosine query"]  # fmt: skip
    text = [
        "EmbeddingGemma 2 at its real size with random weights, one thread. An image of 480 x 640 at 280 tokens; a text"
        " query of 20 tokens. torch: transformers in float32. float32, q4, int8: graphs of"
        " `python -m model.gemma.build`. Peak memory: of the whole process, loading included. Cosines: to torch's"
        " vectors; a random network of this depth amplifies rounding, so they compare the precisions and tell nothing"
        " of trained weights.",
        report.table(head, rows),
        "\n".join(lines),
    ]
    windows = [
        [detail, *(results[part][key] for key in ("frames", "tokens", "cpu", "peak"))]
        for part, detail in WINDOWS.items()
        if part in results
    ]
    if windows:
        text.append(f"A 30-second window ({OFFERED}), by `--detail`:")
        text.append(report.table(["setting", "frames", "tokens", "CPU s", "GB peak"], windows))
    if "switch" in results:
        usual = float(np.median(results["switch"]["before"]))
        times = [
            [name, len(spent), float(np.median(spent)), max(spent), sum(second > 2 * usual for second in spent)]
            for name, spent in results["switch"].items()
        ]
        text.append(
            f"A search every second while a library changes from lite to this model ({OFFERED}); none was lost:"
        )
        text.append(report.table(["", "searches", "median s", "slowest s", "above twice the median before"], times))
    return "\n\n".join(text)


if __name__ == "__main__":
    main()
