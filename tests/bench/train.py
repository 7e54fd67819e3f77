"""`make bench-train`: what the trainer costs over a bare forward and backward of the same inputs.

Built around cases, each a process of its own (peak memory belongs to one case): the real `train()` over
pictures and captions on disk with a medium random Qwen2-VL, against the same batches, collated beforehand,
through the same model without data path, optimiser, logs. On an accelerator also Qwen2-VL-2B's shape, with
random weights, LoRA, and the share of peak flops.
"""

from __future__ import annotations

import argparse
import itertools
import json
import resource
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np

from tests.bench.report import table, write

ROOT = Path(__file__).resolve().parents[2]
TOKENIZER = ROOT / "tests" / "model" / "parity" / "checkpoint"
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
BF16_PEAK = {"H200": 989e12, "H100": 989e12, "A100": 312e12, "L40S": 362e12, "L4": 121e12, "4090": 165e12}
"""Dense bfloat16 peak, from the data sheets."""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--case", help=argparse.SUPPRESS)
    parser.add_argument("--work", type=Path, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.case:
        print(json.dumps(run_case(options.case, options.work)))
        return
    work = Path(tempfile.mkdtemp(prefix="bench-train-"))
    try:
        prepare(work)
        results = {name: in_a_process(name, work) for name in [*(f"bare {b}" for b in BARE), *CASES]}
        write("train", report(results, accelerator(work)))
    finally:
        shutil.rmtree(work)


def report(results: dict[str, dict[str, float]], device: str) -> str:
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
    return f"{about}\n\n{table(head, rows)}\n\n{device}"


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

    from train.loading import Loader, pieces
    from train.tower import open_tower
    from train.trainer import Contrastive, mixing_table, open_sources

    sources = open_sources(config)
    tower = open_tower(config)
    loader = Loader(sources, tower.collator(), config.max_frames)
    shares = mixing_table(config, sources).shares(0, STEPS)
    batches = list(pieces(loader, shares, 0, 0))
    tower.module.train()
    seconds = []
    for batch in batches:
        began = time.perf_counter()
        loss_of = Contrastive(config).on(batch)
        embeddings = [tower.encode(getattr(p, side)) for side in ("queries", "positives") for p in batch]
        loss_of(torch.cat(embeddings)).backward()
        tower.module.zero_grad(set_to_none=True)
        seconds.append(time.perf_counter() - began)
    count = sum(p.numel() for p in tower.module.parameters())
    return {"pairs_per_s": config.batch_size / min(seconds[WARM:]), "parameters": count}


def config_of(work: Path, changes: dict[str, Any]) -> Any:
    from train.config import from_dict

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


def prepare(work: Path) -> None:
    """A medium random Qwen2-VL, and 384 noisy pictures with captions in three sources."""
    from PIL import Image

    save_model(work / "model", hidden_size=256, layers=6, heads=8, intermediate=768, vision=192, depth=6)
    generator = np.random.default_rng(0)
    for source, count in itertools.product(range(3), [128]):
        rows = []
        for number in range(count):
            name = f"{source}-{number}.jpg"
            Image.fromarray(generator.integers(0, 255, (SIDE, SIDE, 3), np.uint8)).save(work / name)
            rows.append({"query": f"picture {number} of source {source}", "positive": {"image": name}})
        (work / f"pairs-{source}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))


def save_model(
    folder: Path, *, hidden_size: int, layers: int, heads: int, intermediate: int, vision: int, depth: int,
    kv_heads: int = 2, vocabulary: int = 512, dtype: str = "float32", device: str = "cpu",
) -> None:  # fmt: skip
    """A Qwen2-VL of this shape with random weights, and the small tokenizer of the parity cases."""
    import torch
    from transformers import Qwen2VLConfig, Qwen2VLModel

    shape = json.loads((TOKENIZER / "config.json").read_text())
    head = hidden_size // heads
    sections = [head // 8, head * 3 // 16, head // 2 - head // 8 - head * 3 // 16]
    shape |= {
        "hidden_size": hidden_size,
        "num_hidden_layers": layers,
        "num_attention_heads": heads,
        "num_key_value_heads": kv_heads,
        "intermediate_size": intermediate,
        "vocab_size": vocabulary,
        "rope_scaling": {"mrope_section": sections, "rope_type": "default", "type": "default"},
    }
    shape["vision_config"] |= {"embed_dim": vision, "hidden_size": hidden_size, "depth": depth}
    shape["vision_config"]["num_heads"] = max(1, vision // 64)
    torch.manual_seed(0)
    with torch.device(device):
        model = Qwen2VLModel(Qwen2VLConfig(**shape)).to(getattr(torch, dtype))
    model.save_pretrained(folder)
    for name in ("tokenizer.json", "tokenizer_config.json", "preprocessor_config.json"):
        shutil.copy(TOKENIZER / name, folder / name)


def accelerator(work: Path) -> str:
    """Share of peak flops of Qwen2-VL-2B's shape with LoRA, where there is a card; else a sentence."""
    import torch

    if not torch.cuda.is_available():
        return "No accelerator on this machine: the share of peak flops of the 2B model was not measured."
    card = torch.cuda.get_device_name()
    peak = next((p for name, p in BF16_PEAK.items() if name in card), None)
    save_model(
        work / "2b", hidden_size=1536, layers=28, heads=12, intermediate=8960, vision=1280, depth=32,
        vocabulary=151936, dtype="bfloat16", device="cuda",
    )  # fmt: skip
    changes = {"model_name": str(work / "2b"), "chunk_size": CHUNK, "gradient_checkpointing": True}
    config = config_of(work, changes)
    rate = trained(config, work / "2b-run")["pairs_per_s"]
    flops = flops_of_a_pair(config)
    memory = torch.cuda.max_memory_allocated() / 1e9
    share = f"{rate * flops / peak:.0%} of peak" if peak else "peak not known"
    return f"{card}: 2B's shape, LoRA, {rate:.1f} pairs/s, {share}, {memory:.1f} GB (the guide says 22)."


def flops_of_a_pair(config: Any) -> float:
    """Flops of one forward and backward, without what chunking and checkpointing do twice."""
    import torch
    from torch.utils.flop_counter import FlopCounterMode

    from train.loading import Loader
    from train.tower import open_tower
    from train.trainer import Contrastive, open_sources

    tower = open_tower(config)
    sources = open_sources(config)
    piece = Loader(sources, tower.collator(), config.max_frames).piece([(0, row) for row in range(4)])
    assert not isinstance(piece, Exception)
    tower.module.eval()
    with FlopCounterMode(display=False) as counter:
        embeddings = torch.cat([tower.encode(piece.queries), tower.encode(piece.positives)])
        Contrastive(config).on([piece])(embeddings).backward()
    return counter.get_total_flops() / 4


if __name__ == "__main__":
    main()
