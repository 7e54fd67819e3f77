"""`make bench-train`: what the trainer costs over a bare forward and backward of the same inputs.

Built around cases, each a process of its own (peak memory belongs to one case): the real `train()` over
pictures and captions on disk with a medium random Qwen2-VL, against the same batches, collated beforehand,
through the same model without data path, optimiser, logs. Then what Qwen2-VL-2B needs of one card with
LoRA, counted (`tests/bench/counted.py`), and where there is an accelerator the tokens a second and the share of its
peak flops, with LoRA and with all weights of the language model (`python -m tests.bench.train --card`: these alone).
"""

from __future__ import annotations

import argparse
import json
import resource
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from tests.bench.counted import (
    MEDIUM,
    QWEN2_VL_2B,
    TOKENIZER,
    allocated,
    clips,
    count_flops,
    count_memory,
    count_tokens,
    pictures,
    questions,
    qwen_config,
)
from tests.bench.report import table, write
from train.config import Config, from_dict, read

ROOT = Path(__file__).resolve().parents[2]
ONE_CARD = ROOT / "train" / "configs" / "vlm2vec_v2_24gb.yaml"
BATCH, SUB_BATCH, CHUNK, STEPS, WARM = 16, 4, 4, 8, 2
SIDE = 112
CASES: dict[str, dict[str, Any]] = {
    "LoRA, whole batch": {},
    "LoRA, chunks of 4": {"chunk_size": CHUNK},
    "LoRA, chunks, checkpointing": {"chunk_size": CHUNK, "gradient_checkpointing": True},
    "all weights, whole batch": {"lora_rank": 0},
    "LoRA, uniform mixing": {"sub_batch_size": 1},
}
BARE = {"LoRA": {}, "all weights": {"lora_rank": 0}}
COUNTED: dict[str, Any] = {"pictures": pictures, "clips of 8 frames": clips, "medium": pictures}
BF16_PEAK = {"H200": 989e12, "H100": 989e12, "A100": 312e12, "L40S": 362e12, "L4": 121e12, "4090": 165e12}
"""Dense bfloat16 peak, from the data sheets."""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--case", help=argparse.SUPPRESS)
    parser.add_argument("--work", type=Path, help=argparse.SUPPRESS)
    parser.add_argument("--card", action="store_true", help="the accelerator alone: a few minutes")
    options = parser.parse_args()
    if options.card:
        with tempfile.TemporaryDirectory(prefix="bench-train-") as folder:
            print(accelerator(Path(folder)))
        return
    if options.case:
        print(json.dumps(run_case(options.case, options.work)))
        return
    work = Path(tempfile.mkdtemp(prefix="bench-train-"))
    try:
        prepare(work)
        results = {name: in_a_process(name, work) for name in [*(f"bare {b}" for b in BARE), *CASES]}
        counts = {name: in_a_process(f"counted {name}", work) for name in COUNTED}
        flops = in_a_process("counted flops", work)["flops"]
        parts = [report(results), counted_report(counts, flops), accelerator(work)]
        write("train", "\n\n".join(parts))
    finally:
        shutil.rmtree(work)


def report(results: dict[str, dict[str, float]]) -> str:
    rows = []
    for name, got in results.items():
        bare = results["bare all weights" if "all weights" in name else "bare LoRA"]
        rows.append(
            [
                name,
                f"{got['pairs_per_s']:.1f}",
                f"{got['pairs_per_s'] / bare['pairs_per_s']:.2f}",
                f"{got.get('waiting', 0):.1%}",
                f"{got['memory_mb']:.0f}",
            ]
        )
    head = ["case", "pairs/s", "of bare forward + backward", "waiting for data", "peak memory, MB"]
    about = (
        f"Random Qwen2-VL of {results['bare LoRA']['parameters'] / 1e6:.1f} M weights, float32, one thread; "
        f"pictures of {SIDE} × {SIDE} and captions, batches of {BATCH} pairs, the best of {STEPS} steps. "
        "A chunked step embeds everything twice, checkpointing once more: three quarters and three fifths "
        "of bare are the most that they can reach. Bare holds all its batches in memory beforehand."
    )
    return f"{about}\n\n{table(head, rows)}"


def counted_report(counts: dict[str, dict[str, float]], flops: float) -> str:
    """`counts` of `COUNTED`, in bytes; `flops` of a pair."""
    chunk = one_card().chunk_size
    names = {
        name: f"2B, LoRA, chunk of {chunk} {name} at the limit" if name != "medium" else "the model above, chunk of 3"
        for name in counts
    }
    parts = ("weights", "trained", "activations", "peak")
    rows = [[names[name], *(f"{got[part] / 1e9:.3g}" for part in parts)] for name, got in counts.items()]
    head = ["peak memory of a step (counted, not run), GB", "weights", "gradients + optimiser"]
    apart = counts["medium"]["allocated"] / counts["medium"]["peak"] - 1
    about = (
        "Counted on tensors without numbers, not measured on a card: Qwen2-VL-2B's shape under "
        f"`{ONE_CARD.name}` (LoRA and DoRA of rank 16, bfloat16, gradient checkpointing and cache). What a "
        "card itself needs (its context, its kernels' workspaces, gaps) comes on top. The last row was "
        f"counted in the same way, and run: torch's allocator gave out {apart:+.2%}."
    )
    pair = f"A pair of a question and a picture at the limit: {flops / 1e12:.1f} Tflop, forward and backward."
    return f"{about}\n\n{table([*head, 'activations', 'all'], rows)}\n\n{pair}"


def in_a_process(case: str, work: Path) -> dict[str, float]:
    print(f"{case} …", file=sys.stderr, flush=True)
    command = [sys.executable, "-m", "tests.bench.train", "--case", case, "--work", str(work)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    if done.returncode:
        raise SystemExit(f"{case}: {done.stderr[-2000:]}")
    return json.loads(done.stdout.splitlines()[-1])


def run_case(case: str, work: Path) -> dict[str, float]:
    import torch

    torch.set_num_threads(1)
    if case == "counted flops":
        return {"flops": flops_of_a_pair(one_card(), QWEN2_VL_2B)}
    if case.startswith("counted "):
        return counted(case.removeprefix("counted "))
    if case.startswith("bare "):
        got = bare(config_of(work, BARE[case.removeprefix("bare ")]))
    else:
        got = trained(config_of(work, CASES[case]), work / case.replace(" ", "_"))
    return got | {"memory_mb": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024}


def trained(config: Any, folder: Path) -> dict[str, float]:
    """The real run, timed by its own log."""
    from train.trainer import train

    train(config, folder)
    lines = [json.loads(line) for line in (folder / "log.jsonl").read_text().splitlines()][WARM:]
    seconds = min(line["seconds"] for line in lines)
    waiting = sum(line["waiting_s"] for line in lines) / sum(line["seconds"] for line in lines)
    return {"pairs_per_s": config.batch_size / seconds, "waiting": waiting}


def bare(config: Any) -> dict[str, float]:
    """The same batches through the same model, nothing around it."""
    import torch

    from train.loading import Loader, pair_batches
    from train.objectives.contrastive import Contrastive
    from train.towers.open import open_tower
    from train.trainer import mixing_table, open_sources

    sources = open_sources(config)
    tower = open_tower(config)
    loader = Loader(sources, tower.collator(), config.max_frames)
    shares = mixing_table(config, sources).shares(0, STEPS)
    batches = list(pair_batches(loader, shares, 0, 0))
    tower.module.train()
    seconds = []
    for batch in batches:
        began = time.perf_counter()
        loss_of = Contrastive(config).loss_function(batch)
        embeddings = [tower.encode(getattr(p, side)) for side in ("queries", "positives") for p in batch]
        loss_of(torch.cat(embeddings)).backward()
        tower.module.zero_grad(set_to_none=True)
        seconds.append(time.perf_counter() - began)
    count = sum(p.numel() for p in tower.module.parameters())
    return {"pairs_per_s": config.batch_size / min(seconds[WARM:]), "parameters": count}


def config_of(work: Path, changes: dict[str, Any]) -> Config:
    keys = {
        "model_name": str(work / "model"),
        "lora_rank": 16,
        "batch_size": BATCH,
        "sub_batch_size": SUB_BATCH,
        "chunk_size": 0,
        "max_steps": STEPS,
        "warmup_steps": 1,
        "gradient_checkpointing": False,
        "workers": 1,
        "save_steps": 10_000,
        "datasets": [{"type": "pairs", "path": str(work / f"pairs-{i}.jsonl")} for i in range(3)],
    }
    return from_dict({**keys, **changes})


def prepare(work: Path, shape: Mapping[str, Any] = MEDIUM, side: int = SIDE) -> None:
    """A random Qwen2-VL of this shape, and 384 noisy pictures with captions in three sources."""
    from PIL import Image

    work.mkdir(exist_ok=True)
    save_model(work / "model", shape)
    generator = np.random.default_rng(0)
    for source in range(3):
        rows = []
        for number in range(128):
            name = f"{source}-{number}.jpg"
            Image.fromarray(generator.integers(0, 255, (side, side, 3), np.uint8)).save(work / name)
            rows.append({"query": f"picture {number} of source {source}", "positive": {"image": name}})
        (work / f"pairs-{source}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))


def save_model(folder: Path, shape: Mapping[str, Any], dtype: str = "float32", device: str = "cpu") -> None:
    """A Qwen2-VL of this shape with random weights, and the small tokenizer of the parity cases."""
    import torch
    from transformers import AutoModel

    torch.manual_seed(0)
    with torch.device(device):
        model = AutoModel.from_config(qwen_config(shape), dtype=getattr(torch, dtype))
    model.save_pretrained(folder)
    for name in ("tokenizer.json", "tokenizer_config.json", "preprocessor_config.json"):
        shutil.copy(TOKENIZER / name, folder / name)


def one_card(**changes: Any) -> Config:
    """The config for one 24 GB card, on such a card."""
    return read(ONE_CARD, {"dtype": "bfloat16", **changes})


def counted(case: str) -> dict[str, float]:
    """Bytes of a step, by what they are; of the medium model also what the allocator gave out."""
    if case == "medium":
        config = one_card(dtype="float32", max_pixels=224 * 224)
        sides = questions(config.chunk_size), pictures(config.chunk_size, config.max_pixels)
        got, more = count_memory(config, MEDIUM, *sides), {"allocated": allocated(config, MEDIUM, *sides)}
    else:
        config, more = one_card(), {}
        shown = COUNTED[case](config.chunk_size, config.max_pixels)
        got = count_memory(config, QWEN2_VL_2B, questions(config.chunk_size), shown)
    trained = got.gradients + got.moments
    return {"weights": got.weights, "trained": trained, "activations": got.activations, "peak": got.peak} | more


def flops_of_a_pair(config: Config, shape: Mapping[str, Any]) -> float:
    """Of a question and a picture at the limit."""
    count = config.chunk_size
    return count_flops(config, shape, questions(count), pictures(count, config.max_pixels)) / count


def accelerator(work: Path) -> str:
    """What a card makes of Qwen2-VL-2B's shape under `ONE_CARD`, where there is one."""
    import torch

    if not torch.cuda.is_available():
        return "No accelerator on this machine: tokens a second and the share of peak flops were not measured."
    pixels = one_card().max_pixels
    prepare(work / "2b", QWEN2_VL_2B, side=int(pixels**0.5) // 28 * 28)
    name = torch.cuda.get_device_name()
    return "\n".join(on_card(work / "2b", name, "cuda", QWEN2_VL_2B, pixels, weights) for weights in BARE)


def on_card(
    work: Path,
    card: str,
    device: str,
    shape: Mapping[str, Any],
    pixels: int,
    weights: str,
    batch: int = 48,
    workers: int = 8,
) -> str:
    """Train the model in `work`, of this shape, on pictures of so many pixels; `weights`: a key of `BARE`.

    What the gradient cache and checkpointing compute again is not counted as work done.
    """
    from train.trainer import TrainError

    settings = one_card(max_pixels=pixels, **BARE[weights])
    changes = {
        "chunk_size": settings.chunk_size,
        "gradient_checkpointing": settings.gradient_checkpointing,
        "max_pixels": pixels,
        "dtype": settings.dtype,
        "device": device,
        "batch_size": batch,
        "workers": workers,
        **BARE[weights],
    }
    folder = work / f"run {weights}"
    about = f"{card}: 2B's shape, {weights}"
    try:
        rate = trained(config_of(work, changes), folder)["pairs_per_s"]
    except TrainError as error:
        return f"{about}: {error}."
    lines = [json.loads(line) for line in (folder / "log.jsonl").read_text().splitlines()]
    memory = max(line["memory_gb"] for line in lines)
    count = settings.chunk_size
    pair = settings, shape, questions(count), pictures(count, pixels)
    flops, tokens = count_flops(*pair) / count, count_tokens(*pair) / count
    peak = next((p for name, p in BF16_PEAK.items() if name in card), None)
    share = f"{rate * flops / peak:.1%} of its peak" if peak else "its peak is not known"
    return f"{about}, {rate:.2f} pairs/s, {rate * tokens:.0f} tokens/s, {share}, {memory:.1f} GB."


if __name__ == "__main__":
    main()
