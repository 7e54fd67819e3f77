"""docs/training.md tells the truth: each command runs as written, at a tiny scale; every key is listed.

`python tests/train/test_training_docs.py` writes the table of keys into the page.
"""

from __future__ import annotations

import ast
import csv
import hashlib
import importlib
import io
import json
import os
import re
import shlex
import shutil
import subprocess
import sys
import tarfile
import threading
import time
import urllib.request
from collections.abc import Iterator
from contextlib import redirect_stderr, redirect_stdout
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
import yaml

from data.sources.pair import SourceError
from eval.task_list import all_tasks
from tests.eval.fixtures import build
from train.config import read, to_dict
from train.trainer import open_sources

ROOT = Path(__file__).resolve().parents[2]
PAGE = ROOT / "docs" / "training.md"
CHECKPOINT = ROOT / "tests" / "model" / "parity" / "checkpoint"
TINY = {
    "model_name": str(CHECKPOINT),
    "batch_size": 8,
    "sub_batch_size": 2,
    "chunk_size": 2,
    "max_steps": 2,
    "warmup_steps": 1,
    "save_steps": 2,
    "eval_steps": 2,
    "eval_rows": 2,
    "max_pixels": 3136,
    "workers": 0,
}


def commands() -> list[str]:
    blocks = re.findall(r"```sh\n(.*?)```", PAGE.read_text(), re.S)
    return [line for block in blocks for line in block.splitlines() if line.strip()]


def table_of_keys() -> str:
    """Name, default and explanation of every key, out of the source of `Config`."""
    tree = ast.parse((ROOT / "train" / "config.py").read_text())
    body = next(n for n in tree.body if isinstance(n, ast.ClassDef) and n.name == "Config").body
    rows = ["| key | default | meaning |", "|---|---|---|"]
    for field, after in zip(body, [*body[1:], None], strict=True):
        if isinstance(field, ast.AnnAssign) and isinstance(field.target, ast.Name):
            default = "" if field.value is None else ast.unparse(field.value).replace("LORA_TARGETS", "all seven")
            told = after.value.value if isinstance(after, ast.Expr) else ""  # type: ignore[attr-defined]
            rows.append(f"| `{field.target.id}` | {default.strip('()')} | {' '.join(str(told).split())} |")
    return "\n".join(rows)


def with_table(page: str) -> str:
    return re.sub(r"(<!-- keys.*?-->\n).*?(\n<!-- /keys -->)", rf"\1{table_of_keys()}\2", page, flags=re.S)


def test_every_key_is_explained_in_the_page() -> None:
    page = PAGE.read_text()
    assert page == with_table(page), "run python tests/train/test_training_docs.py"
    assert all(row.split("|")[3].strip() for row in table_of_keys().splitlines()[2:])


def test_the_page_has_no_command_that_is_not_tried() -> None:
    tried = (
        "make setup-dev",
        "python -m data.download",
        "python -m data.sources.pack",
        "python -m train",
        "torchrun",
        "python -m eval",
        "sightline run",
        "sightline clicks",
        "sightline export",
    )
    assert len(commands()) >= 11
    assert all(command.startswith(tried) for command in commands())
    assert "setup-dev:" in (ROOT / "Makefile").read_text()


def test_the_stages_and_ablations_of_the_second_recipe_are_configs_that_are_accepted() -> None:
    section = PAGE.read_text().partition("**What each stage costs**")[2].partition("\n## ")[0]
    shipped = ROOT / "train" / "configs" / "sightline_v1.yaml"
    options = [dict(re.findall(r"--(\w+) (\w+)", row)) for row in re.findall(r"^\|.*`--.*$", section, re.M)]
    changes = [
        yaml.safe_load("\n".join(re.findall(r"`(\w+: [^`]+)`", row)))
        for row in re.findall(r"^\|.*`\w+: .*$", section, re.M)
    ]
    assert len(options) == 2 and len(changes) >= 6
    for changed in [*({key: yaml.safe_load(value) for key, value in one.items()} for one in options), *changes]:
        assert to_dict(read(shipped, changed)).items() >= changed.items()


def test_all_subsets_that_were_not_downloaded_are_named_at_once(tmp_path: Path) -> None:
    recipe = read(ROOT / "train" / "configs" / "vlm2vec_v2_qwen2vl_2b.yaml", {"data_root": str(tmp_path)})
    with pytest.raises(SourceError) as raised:
        open_sources(recipe)
    said = str(raised.value)
    assert "\n" not in said and f"25 of 25 data sets are not below {tmp_path}" in said
    assert all(f" train/{entry['name']}" in said for entry in recipe.datasets)


@pytest.fixture(scope="module")
def hub(tmp_path_factory: pytest.TempPathFactory, collection: Path) -> Iterator[str]:
    """The hub's training sets, twelve rows each, and the benchmark in miniature, served from this machine."""
    root = tmp_path_factory.mktemp("hub")
    for repo, files in (hub_files(collection, root) | benchmark_files(root / "benchmark")).items():
        listing = root / "api" / "datasets" / repo / "tree" / "main"
        listing.parent.mkdir(parents=True)
        listing.write_text(
            json.dumps(
                [{"type": "file", "path": p, "size": f.stat().st_size, "oid": blob_id(f)} for p, f in files.items()]
            )
        )
        for path, file in files.items():
            place = root / "datasets" / repo / "resolve" / "main" / path
            place.parent.mkdir(parents=True, exist_ok=True)
            shutil.move(file, place)

    class Quiet(SimpleHTTPRequestHandler):
        def log_message(self, *_: Any) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), partial(Quiet, directory=str(root)))
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()


def blob_id(file: Path) -> str:
    """Git's name of a file's bytes."""
    content = file.read_bytes()
    return hashlib.sha1(b"blob %d\0" % len(content) + content).hexdigest()


def hub_files(collection: Path, root: Path) -> dict[str, dict[str, Path]]:
    import zipfile

    import pyarrow as pa
    import pyarrow.parquet as pq

    from data.sources.recipe import subsets

    pairs = [json.loads(line) for line in collection.read_text().splitlines()][:12]
    pictures = [collection.parent / pair["positive"]["image"] for pair in pairs]
    made: dict[str, dict[str, Path]] = {s.repo: {} for s in subsets().values()}
    scratch = root / "scratch"
    scratch.mkdir()

    def keep(repo: str, path: str) -> Path:
        made[repo][path] = scratch / f"{len(list(scratch.iterdir()))}-{Path(path).name}"
        return made[repo][path]

    for subset in subsets().values():
        if subset.parser == "mmeb":
            rows = [
                {
                    "qry": f"<|image_1|>\nSay what it is, {subset.name}\n",
                    "qry_image_path": f"{subset.name}/{picture.name}",
                    "pos_text": pair["query"],
                    **dict.fromkeys(("pos_image_path", "neg_text", "neg_image_path"), ""),
                }
                for pair, picture in zip(pairs, pictures, strict=True)
            ]
            path = f"{subset.name}/original-00000-of-00001.parquet"
            pq.write_table(pa.Table.from_pylist(rows), keep(subset.repo, path))
            with zipfile.ZipFile(keep(subset.repo, f"images_zip/{subset.name}.zip"), "w") as archive:
                for picture in pictures:
                    archive.write(picture, f"{subset.name}/{picture.name}")
        elif subset.parser in ("vidore", "visrag"):
            rows = [
                {
                    "query": pair["query"],
                    "image": {"bytes": picture.read_bytes(), "path": picture.name},
                    "answer": pair["query"],
                    "source": "SlideVQA",
                }
                for pair, picture in zip(pairs, pictures, strict=True)
            ]
            pq.write_table(pa.Table.from_pylist(rows), keep(subset.repo, "data/train-00000-of-00001.parquet"))
        elif subset.rows not in made[subset.repo]:
            clips = [
                {"video": f"v{i}", "conversations": [{"value": "<video>\nWhat is it?"}, {"value": pair["query"]}]}
                for i, pair in enumerate(pairs)
            ]
            keep(subset.repo, subset.rows).write_text("".join(json.dumps(clip) + "\n" for clip in clips))
    with tarfile.open(keep("ShareGPTVideo/train_video_and_instruction", "train_300k/chunk_0.tar.gz"), "w:gz") as frames:
        for i, picture in enumerate(pictures):
            for frame in range(2):
                frames.add(picture, f"v{i}/c01_{frame}.png")
    return made


def benchmark_files(root: Path) -> dict[str, dict[str, Path]]:
    """MMEB-V2 as the hub has it: rows as they are, media in its five archives."""
    root.mkdir()
    build(root, all_tasks())
    packed = "TIGER-Lab/MMEB-V2"
    made: dict[str, dict[str, Path]] = {packed: {}}
    for place in sorted(p for p in root.glob("*/*") if p.is_dir() and str(p.relative_to(root)) != packed):
        made[str(place.relative_to(root))] = {
            str(file.relative_to(place)): file for file in place.rglob("*") if file.is_file()
        }
    frames = "video-tasks/frames"
    for name, folder, inside in (
        ("image-tasks/mmeb_v1.tar.gz", "image-tasks", "MMEB"),
        (f"{frames}/video_cls.tar.gz", f"{frames}/video_cls", ""),
        (f"{frames}/video_ret.tar.gz", f"{frames}/video_ret", ""),
        (f"{frames}/video_mret.tar.gz", f"{frames}/video_mret", "video_mret"),
        (f"{frames}/video_qa.tar.gz-00", f"{frames}/video_qa", "video_qa"),
    ):
        made[packed][name] = root / Path(name).name
        with tarfile.open(made[packed][name], "w:gz") as archive:
            archive.add(root / packed / folder, inside)
    return made


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory, collection: Path) -> Path:
    """A working directory as the page's reader has it."""
    place = tmp_path_factory.mktemp("reader")
    shutil.copytree(collection.parent, place, dirs_exist_ok=True)
    (place / "train").symlink_to(ROOT / "train", target_is_directory=True)
    pictures = [place / json.loads(row)["positive"]["image"] for row in collection.read_text().splitlines()]
    (place / "Pictures").mkdir()
    for picture in pictures[:6]:
        shutil.copy(picture, place / "Pictures")
    return place


def run(command: str, place: Path, hub: str, keys: dict[str, Any] | None = None) -> str:
    """The command as written, with the page's keys made tiny; torchrun with 2 processes for 8.

    `python -m …` runs in this process, which has torch in memory already.
    """
    words = shlex.split(command.replace("--nproc_per_node=8", "--standalone --nproc_per_node=2"))
    words += [f"--{key}={json.dumps(value)}" for key, value in (keys or {}).items()]
    if words[0] == "torchrun":
        words[:1] = [sys.executable, "-m", "torch.distributed.run"]
        env = os.environ | {"PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1", "CUDA_VISIBLE_DEVICES": ""}
        done = subprocess.run(words, cwd=place, env=env, capture_output=True, text=True)
        assert done.returncode == 0, f"{command}\n{done.stderr[-3000:]}"
        return done.stdout + done.stderr
    module = {"train": "train.__main__", "eval": "eval.__main__", "data.download": "data.download.download"}.get(
        words[2], words[2]
    )
    out = io.StringIO()
    with pytest.MonkeyPatch.context() as patch, redirect_stdout(out), redirect_stderr(out):
        patch.chdir(place)
        patch.setenv("HF_ENDPOINT", hub)
        patch.setenv("XDG_CACHE_HOME", str(place / "cache"))
        assert importlib.import_module(module).main(words[3:]) == 0, f"{command}\n{out.getvalue()}"
    return out.getvalue()


def sightline(command: str, place: Path, *more: str) -> list[str]:
    """The command as written, over a library in `place`."""
    words = shlex.split(command.replace("~", str(place)))
    return [sys.executable, "-m", "app.cli", *words[1:], "--data-dir", str(place / "library"), *more]


def serve_and_search(command: str, place: Path) -> dict[str, Any]:
    """`sightline run …` until its model answers for everything; the status then, and what a search found."""
    name = Path(shlex.split(command)[-1]).name
    env = os.environ | {"PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    words = sightline(command, place, "--no-browser", "--no-token", "--port", "0", "--ocr", "off")
    said = place / "said.txt"
    with said.open("w") as out:
        running = subprocess.Popen(words, cwd=place, env=env, stderr=out)

    def get(path: str) -> dict[str, Any]:
        (address,) = re.findall(r"Sightline is at (http://\S+)/\n", said.read_text())
        with urllib.request.urlopen(address + path, timeout=60) as answer:
            return json.loads(answer.read())

    try:
        while True:  # the test's own time limit ends the wait
            assert running.poll() is None, said.read_text()
            try:
                status = get("/api/status")
            except (ValueError, OSError):  # not that far yet
                status = {"files": 0, "chunks": -1}
            is_complete = status["files"] == status["chunks"] == 6 and not status["pending"]
            if is_complete and status["model"].startswith(f"{name}@"):
                return status | {"hits": get("/api/search?q=a+square")["hits"]}
            time.sleep(0.1)
    finally:
        running.terminate()
        running.wait(60)
        shutil.rmtree(place / "library")


def one(start: str, holding: str) -> str:
    (found,) = {c for c in commands() if c.startswith(start) and holding in c}
    return found


@pytest.mark.long
def test_from_an_empty_machine_to_a_checkpoint_of_the_recipe(place: Path, hub: str) -> None:
    """Download, dry and wet, then all 25 sources on two processes; once more on one; and the model loads."""
    import model
    from data.sources.recipe import subsets
    from model.inputs import Input

    said = run(one("python -m data.download", "--dry-run"), place, hub)
    assert "to fetch" in said and "non-commercial" in said
    dry = one("python -m data.download", "--dry-run")
    run(dry.removesuffix(" --dry-run"), place, hub)
    assert dry.removesuffix(" --dry-run") in commands()
    assert run(one("python -m data.download", "--dry-run"), place, hub).rstrip().endswith("0 B to fetch")

    packed = run(one("python -m data.sources.pack", "visrag-indomain"), place, hub)
    assert packed.count("packed/") == 2
    said = run(one("torchrun", "vlm2vec_v2_qwen2vl_2b"), place, hub, TINY)
    assert "300 pairs from 25 sources" in said and "2 × cpu" in said
    state = json.loads((place / "runs/v2/checkpoint-2/trainer/state.json").read_text())
    assert len(state["config"]["datasets"]) == len(subsets()) and not state["missing"]
    vectors = model.load(str(place / "runs/v2/checkpoint-2"), device="cpu").embed([Input("a dog", role="query")])
    assert vectors.shape == (1, 64)

    (place / "runs/v2/checkpoint-2").rename(place / "runs/v2/checkpoint-5000")
    run(one("python -m data.download", "--only eval"), place, hub)
    run(one("python -m eval", "checkpoint-5000"), place, hub)
    rows = list(csv.DictReader((place / "leaderboard.csv").open()))
    assert rows[0]["tasks"] == "78/78"
    scored = {row["name"] for row in rows if row["level"] == "task" and row["v2/checkpoint-5000"]}
    assert scored == {task.name for task in all_tasks()}

    shutil.rmtree(place / "runs/v2")
    run(one("python -m train", "24gb"), place, hub, TINY)
    assert (place / "runs/v2/checkpoint-2/adapter_model.safetensors").is_file()


@pytest.mark.long
def test_a_model_for_ones_own_collection_is_trained_merged_and_loaded(place: Path, hub: str) -> None:
    import model

    keys = {**TINY, "max_steps": 2, "datasets": [{"type": "pairs", "path": "pairs.jsonl"}]}
    run(one("python -m train", "own_pairs"), place, hub, keys)
    (place / "runs/mine/checkpoint-2").rename(place / "runs/mine/checkpoint-500")
    run(one("python -m train", "--merge"), place, hub)
    served = serve_and_search(one("sightline run", "runs/mine"), place)
    assert len(served["hits"]) == 6
    assert model.load(str(place / "runs/mine-merged"), device="cpu").dim == 64


@pytest.mark.long
def test_the_second_recipe_is_mined_trained_and_averaged(place: Path, hub: str) -> None:
    import model

    keys = {**TINY, "datasets": [{"type": "pairs", "path": "pairs.jsonl"}], "matryoshka": [32], "save_steps": 1}
    mining = one("python -m train", "--mine").replace("Qwen/Qwen3-VL-Embedding-2B", str(CHECKPOINT))
    assert "of their negatives found" in run(mining, place, hub, keys)
    run(one("torchrun", "sightline_v1"), place, hub, keys)
    for step, name in ((1, 4500), (2, 5000)):
        (place / f"runs/s1/checkpoint-{step}").rename(place / f"runs/s1/checkpoint-{name}")
    run(one("python -m train", "--average"), place, hub)
    assert model.load(str(place / "runs/s1-mean"), device="cpu").dim == 64


@pytest.mark.long
def test_a_student_is_distilled_and_loaded(place: Path, hub: str) -> None:
    import model

    keys = TINY | {"model_name": "lite", "teacher": str(CHECKPOINT), "chunk_size": 0}
    for command in ("sightline index ~/Pictures --ocr off", one("sightline export", "--of media")):
        words, env = sightline(command, place), os.environ | {"PYTHONPATH": str(ROOT)}
        assert subprocess.run(words, cwd=place, env=env).returncode == 0
    keys["datasets"] = yaml.safe_load((ROOT / "train/configs/distill_lite.yaml").read_text())["datasets"]
    keys |= {"batch_size": 4, "eval_rows": 1}
    run(one("python -m train", "distill_lite"), place, hub, keys)
    assert model.load(str(place / "runs/lite/checkpoint-2")).dim == 64
    (place / "runs/lite/checkpoint-2").rename(place / "runs/lite/checkpoint-2000")
    served = serve_and_search(one("sightline run", "runs/lite"), place)
    assert len(served["hits"]) == 6


def test_clicks_are_kept_by_the_command_of_the_page(place: Path) -> None:
    env = os.environ | {"PYTHONPATH": str(ROOT)}
    done = subprocess.run(sightline(one("sightline clicks", "--keep"), place), env=env, capture_output=True, text=True)
    assert done.returncode == 0 and "kept from now on" in done.stdout, done.stderr
    assert (place / "library" / "keep-clicks").exists()


if __name__ == "__main__":
    PAGE.write_text(with_table(PAGE.read_text()))
