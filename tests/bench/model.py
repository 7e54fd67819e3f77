"""`make bench-model`: Qwen2-VL embeddings a second, the original's way and ours, in one run.

Built around a random model of Qwen2-VL-2B's shape with a quarter of its layers on a CPU (all of
them on an accelerator) and one mixed list of inputs: queries, photos, pages, clips. The original's
way is its evaluation's: batches of 16 in order of arrival, one padded forward of the whole model,
head included, every hidden state kept. Both get the same positions, so their vectors must agree.
Each way runs in a process of its own, whose peak memory is its own.
"""

from __future__ import annotations

import argparse
import json
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np

from tests.bench import report

ROOT = Path(__file__).resolve().parents[2]
TOKENIZER = ROOT / "tests" / "model" / "parity" / "checkpoint"
FULL = {"language": 28, "vision": 32}
QUARTER = {"language": 7, "vision": 8}
WINDOW = {"language": 2, "vision": 2}
ONE = {"language": 1, "vision": 1}
ORIGINAL_BATCH = 16
WAYS = ("original", "ours")
STATUS = Path("/proc/self/status")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--part", help=argparse.SUPPRESS)
    parser.add_argument("--out", type=Path, help=argparse.SUPPRESS)
    parser.add_argument("--rounds", type=int, default=1, help="best of so many")
    parser.add_argument("--quick", action="store_true", help="one layer of each tower; printed, not kept")
    asked = parser.parse_args()
    if asked.part:
        asked.out.write_text(json.dumps(_part(asked.part, asked.quick)))
    elif asked.quick:
        print(_compare(asked.rounds, quick=True))
    else:
        report.write("model", _compare(asked.rounds))


def _compare(rounds: int, quick: bool = False) -> str:
    import torch

    accelerated = torch.accelerator.is_available()
    parts = [_run(way, quick) for _ in range(rounds) for way in WAYS]
    original, ours = (min((p for p in parts if p["way"] == way), key=lambda p: p["seconds"]) for way in WAYS)
    cosine = float((np.array(original["vectors"]) * np.array(ours["vectors"])).sum(axis=1).min())
    assert cosine > (0.99 if accelerated else 0.9999), f"the two ways disagree: cosine {cosine}"
    rows = [
        [
            *(p["way"], p["count"], p["seconds"], p["count"] / p["seconds"]),
            *(p["tokens"], p["padded"], p["loaded_gb"], p["peak_gb"]),
        ]
        for p in (original, ours)
    ]
    ratio = original["seconds"] / ours["seconds"]
    text = [
        f"Random weights of Qwen2-VL-2B's shape, {ours['layers']} layers, {ours['dtype']}, {ours['device']}. "
        f"{ours['count']} inputs in order of arrival: {ours['mixture']}.",
        report.table(["way", "inputs", "seconds", "inputs/s", "tokens", "padded tokens", "GB loaded", "GB peak"], rows),
        f"**Ours is {ratio:.2f} times as fast**, from the same weights to the same vectors (cosine at least "
        f"{cosine:.6f}).",
        _efficiency(ours),
    ]
    if not accelerated:
        text += [_memory([_run(f"window-{size}", quick) for size in ("small", "large")])]
        text += [_int8(ours, _run("int8", quick))]
    return "\n\n".join(text)


def _efficiency(ours: dict[str, Any]) -> str:
    head = ["batch", "rows", "longest", "TFLOP", "seconds", "share of matrix-product speed"]
    rows = [
        [i, count, longest, tflop, spent, f"{tflop / spent / ours['peak_tflops']:.0%}"]
        for i, (count, longest, tflop, spent) in enumerate(ours["batches"], 1)
    ]
    whole = sum(b[2] for b in ours["batches"]) / sum(b[3] for b in ours["batches"]) / ours["peak_tflops"]
    return (
        f"Batch by batch, against the {ours['peak_tflops']:.2f} TFLOP/s that a large matrix product reached "
        f"just before; the whole list at {whole:.0%}:\n\n{report.table(head, rows)}"
    )


def _memory(parts: list[dict[str, Any]]) -> str:
    head = ["a window of 8 frames", "tokens", "GB loaded", "GB peak", "GB above loaded"]
    rows = [[p["frame"], p["tokens"], p["loaded_gb"], p["peak_gb"], p["peak_gb"] - p["loaded_gb"]] for p in parts]
    return (
        "Memory of one window at the protocol's limits, few layers (it does not grow with "
        f"layers), float32; the frames themselves are counted in:\n\n{report.table(head, rows)}"
    )


def _int8(ours: dict[str, Any], int8: dict[str, Any]) -> str:
    cosines = (np.array(ours["vectors"]) * np.array(int8["vectors"])).sum(axis=1)
    return (
        f"int8 (dynamic, by row): {int8['count'] / int8['seconds']:.2f} inputs/s, "
        f"{ours['seconds'] / int8['seconds']:.2f} times float32; {int8['loaded_gb']:.1f} GB loaded; "
        f"cosine to float32 at least {cosines.min():.4f}, mean {cosines.mean():.4f} (of random weights)."
    )


def _run(part: str, quick: bool) -> dict[str, Any]:
    with tempfile.TemporaryDirectory() as folder:
        out = Path(folder) / "result.json"
        command = [sys.executable, "-m", "tests.bench.model", "--part", part, "--out", str(out)]
        command += ["--quick"] * quick
        subprocess.run(command, cwd=ROOT, check=True)
        result: dict[str, Any] = json.loads(out.read_text())
    print(f"  {part}: {result['seconds']:.1f} s, peak {result['peak_gb']:.1f} GB", file=sys.stderr)
    return result


# -- one process ------------------------------------------------------------------------------------


def _part(part: str, quick: bool) -> dict[str, Any]:
    import torch

    from model.qwen.checkpoint import patches_as_products, quantise_linear
    from model.qwen.embedder import QwenVLEmbedder, read_tokenizer
    from model.qwen.vision import Pixels

    accelerated = torch.accelerator.is_available()
    device = torch.accelerator.current_accelerator() if accelerated else torch.device("cpu")
    layers = WINDOW if part.startswith("window") else FULL if accelerated else QUARTER
    layers = ONE if quick else layers
    whole = random_model(layers, torch.bfloat16 if accelerated else torch.float32, device)
    if part != "original":
        patches_as_products(whole.model)
    if part == "int8":
        quantise_linear(whole.model)
    embedder = QwenVLEmbedder(whole.model, read_tokenizer(TOKENIZER), Pixels(), id=f"bench-{part}")
    prompts, visuals, mixture = _mixed() if not part.startswith("window") else _window(part)
    rows = embedder.prepare(prompts, visuals)
    warm = embedder.prepare(["warm up"], [None])
    embedder.embed_prepared(warm)
    loaded = _peak_gb(device) if accelerated else _resident_gb()
    peak_speed = _matrix_tflops(device, whole.dtype) if part == "ours" else 0.0
    timed = original_way if part == "original" else our_way
    _forget_peak()
    start = time.perf_counter()
    vectors, batches, padded = timed(whole, embedder, rows)
    seconds = time.perf_counter() - start
    return {
        "way": part, "count": len(rows), "seconds": seconds, "mixture": mixture,
        "frame": mixture, "tokens": sum(map(len, rows)), "padded": padded, "batches": batches,
        "vectors": vectors.tolist(), "loaded_gb": loaded, "peak_gb": _peak_gb(device),
        "layers": f"{layers['language']} language and {layers['vision']} vision", "dtype": str(whole.dtype),
        "device": str(device), "peak_tflops": peak_speed,
    }  # fmt: skip


def random_model(layers: dict[str, int], dtype: Any, device: Any) -> Any:
    """A `Qwen2VLForConditionalGeneration` of the 2B's widths with so many layers; the same at every call."""
    import torch
    from transformers import Qwen2VLConfig, Qwen2VLForConditionalGeneration

    text = {
        "hidden_size": 1536, "intermediate_size": 8960, "num_hidden_layers": layers["language"],
        "num_attention_heads": 12, "num_key_value_heads": 2, "vocab_size": 151936, "pad_token_id": 380,
        "max_position_embeddings": 32768, "tie_word_embeddings": True,
        "rope_parameters": {"rope_type": "default", "rope_theta": 1e6, "mrope_section": [16, 24, 24]},
    }  # fmt: skip
    vision = {"depth": layers["vision"], "embed_dim": 1280, "hidden_size": 1536, "num_heads": 16}
    config = Qwen2VLConfig(
        text_config=text, vision_config=vision, image_token_id=391, video_token_id=392,
        vision_start_token_id=388, vision_end_token_id=389, tie_word_embeddings=True,
    )  # fmt: skip
    config._attn_implementation = "sdpa"
    torch.manual_seed(0)
    with torch.device("meta"):
        whole = Qwen2VLForConditionalGeneration(config)
    whole = whole.to(dtype).to_empty(device="cpu")
    generator = torch.Generator().manual_seed(0)
    for name, parameter in whole.named_parameters():
        if parameter.dim() > 1:
            parameter.data.normal_(0, 0.02, generator=generator)
        else:
            parameter.data.fill_(1.0 if "norm" in name or "ln_q" in name else 0.0)
            if name.endswith("bias"):
                parameter.data.zero_()
    whole.tie_weights()
    for rotary in (whole.model.language_model.rotary_emb, whole.model.visual.rotary_pos_emb):
        fresh = type(rotary)(rotary.config)
        rotary.load_state_dict(fresh.state_dict(), strict=False)
        rotary.inv_freq, rotary.original_inv_freq = fresh.inv_freq, fresh.original_inv_freq
    return whole.to(device).eval().requires_grad_(False)


def our_way(_: Any, embedder: Any, rows: list[Any]) -> tuple[np.ndarray, list[Any], int]:
    """What `embed_prompts` does, with each batch timed and its arithmetic counted."""
    import torch
    from torch.utils.flop_counter import FlopCounterMode

    from model.batching import plan_batches

    out, batches, padded = np.empty((len(rows), embedder.dim), np.float32), [], 0
    for places in plan_batches([len(row) for row in rows], embedder.batch_tokens, embedder.padding):
        start = time.perf_counter()
        with torch.inference_mode(), FlopCounterMode(display=False) as counter:
            batch = embedder.collate_prepared([rows[i] for i in places])
            out[places] = embedder.encode(batch).cpu().numpy()
        spent = time.perf_counter() - start
        padded += batch.input_ids.numel()
        batches.append([len(places), batch.input_ids.shape[1], counter.get_total_flops() / 1e12, spent])
    return out, batches, padded


def original_way(whole: Any, embedder: Any, rows: list[Any]) -> tuple[np.ndarray, list[Any], int]:
    """The published evaluation's forward: arrival order, padding to the longest, head and hidden states."""
    import torch

    out, padded = np.empty((len(rows), embedder.dim), np.float32), 0
    for first in range(0, len(rows), ORIGINAL_BATCH):
        some = rows[first : first + ORIGINAL_BATCH]
        batch = embedder.collate_prepared(some).to(embedder.device)
        kinds = {"image": [], "video": []}  # type: ignore[var-annotated]
        for visual in (v for row in some for v in row.visuals):
            kinds["video" if len(visual.frames) > 1 else "image"].append(visual)
        seen: dict[str, Any] = {}
        for kind, (pixels, grid) in {
            "image": ("pixel_values", "image_grid_thw"),
            "video": ("pixel_values_videos", "video_grid_thw"),
        }.items():
            if kinds[kind]:
                patches = np.concatenate([v.patches(embedder.pixels) for v in kinds[kind]])
                seen[pixels] = torch.from_numpy(patches).to(embedder.device, whole.dtype)
                seen[grid] = torch.tensor([v.grid for v in kinds[kind]], device=embedder.device)
        mask = batch.attention_mask if batch.attention_mask is not None else torch.ones_like(batch.input_ids)
        with torch.inference_mode():
            done = whole(
                input_ids=batch.input_ids,
                attention_mask=mask,
                position_ids=batch.position_ids.expand(3, -1, -1),
                output_hidden_states=True,
                use_cache=False,
                **seen,
            )
            last = torch.nn.functional.normalize(done.hidden_states[-1][:, -1].float(), dim=-1)
        out[first : first + len(some)] = last.cpu().numpy()
        padded += batch.input_ids.numel()
    return out, [], padded


def _mixed() -> tuple[list[str], list[Any], str]:
    """16 inputs as they might arrive: every other one a query, between them photos, pages, clips."""
    random = np.random.default_rng(0)

    def picture(width: int, height: int) -> np.ndarray:
        return random.integers(0, 256, (height, width, 3), dtype=np.uint8)

    prompts, visuals = [], []
    shown: list[tuple[str, Any]] = [
        ("photo", picture(w, h)) for w, h in ((336, 252), (448, 336), (300, 400), (224, 224))
    ]
    shown += [("page", picture(420, 595))] * 3 + [("clip", [picture(224, 126) for _ in range(8)])]
    for i, (kind, what) in enumerate(random.permutation(np.array(shown, dtype=object))):
        words = ["a", "small", "dog", "runs", "through", "the", "snow", "beside", "a", "lake", "at", "night"]
        caption = " ".join(words[: 3 + i % 10])
        prompts.append(f"Find me an everyday image that matches the given caption: {caption}\n")
        visuals.append(None)
        pad = "<|video_pad|>" if kind == "clip" else "<|image_pad|>"
        prompts.append(f"{pad}\nRepresent the given {kind}.\n")
        visuals.append(what if kind == "clip" else [what])
    return prompts, visuals, "8 queries, 4 photos, 3 pages, 1 clip of 8 frames"


def _window(part: str) -> tuple[list[str], list[Any], str]:
    width, height = (640, 360) if part.endswith("small") else (3840, 2160)
    frames = np.random.default_rng(0).integers(0, 256, (8, height, width, 3), dtype=np.uint8)
    return (["<|video_pad|> Understand the content of the provided video."], [list(frames)], f"{width} × {height}")


def _matrix_tflops(device: Any, dtype: Any) -> float:
    """The speed of one large matrix product, here and now."""
    import torch

    side, inner = (8192, 8192) if device.type != "cpu" else (1536, 8960)
    a, b = (torch.randn(shape, device=device, dtype=dtype) for shape in ((1024, inner), (inner, side)))
    best = float("inf")
    for _ in range(5):
        start = time.perf_counter()
        (a @ b).sum().item()
        best = min(best, time.perf_counter() - start)
    return 2 * 1024 * inner * side / best / 1e12


def _resident_gb() -> float:
    import psutil

    return psutil.Process().memory_info().rss / 2**30


def _peak_gb(device: Any) -> float:
    import torch

    if device.type == "cuda":
        return torch.cuda.max_memory_allocated() / 2**30
    if STATUS.exists():
        return next(int(line.split()[1]) for line in STATUS.open() if line.startswith("VmHWM")) / 2**20
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20


def _forget_peak() -> None:
    """So that the peak is the work's, not that of making random weights (Linux only)."""
    if STATUS.exists():
        STATUS.with_name("clear_refs").write_text("5")


if __name__ == "__main__":
    main()
