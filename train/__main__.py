r"""`python -m train`: train by a config, or merge an adapter into its base.

    python -m train --config train/configs/own_pairs.yaml --output_dir runs/mine
    python -m train --nproc_per_node 8 --config train/configs/vlm2vec_v2_qwen2vl_2b.yaml --output_dir runs/v2
    torchrun --nproc_per_node=8 -m train \
        --config train/configs/vlm2vec_v2_qwen2vl_2b.yaml --output_dir runs/v2
    python -m train --merge runs/v2/checkpoint-5000 --output_dir runs/v2-merged

Any key of the config can be set on the command line as well: `--max_steps 200`.
"""

from __future__ import annotations

import argparse
import importlib.util
import os
import sys
from pathlib import Path
from typing import Any

from train.config import Config, ConfigError, read
from train.launch import launch, say_ended


def main(arguments: list[str] | None = None) -> int:
    """Exit codes: 0 done or stopped by a signal with a checkpoint, 1 the job failed, 2 wrong usage."""
    parser = argparse.ArgumentParser(
        prog="python -m train", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    mode = parser.add_mutually_exclusive_group(required=True)
    mode.add_argument("--config", type=Path, help="YAML file of the run")
    mode.add_argument("--merge", type=Path, metavar="ADAPTER", help="write an adapter and its base as one model")
    mode.add_argument("--average", type=Path, nargs="+", metavar="DIR", help="write the average of models as one")
    parser.add_argument(
        "--mine", metavar="TEACHER", help="with --config: mine hard negatives and neighbours, no training"
    )
    parser.add_argument("--output_dir", type=Path, required=True, help="where checkpoints and logs go")
    parser.add_argument("--nproc_per_node", type=int, default=1, metavar="N", help="processes, one a card; 1")
    options, config_arguments = parser.parse_known_args(arguments)
    is_first = os.environ.get("RANK", "0") == "0"
    required_packages = ("yaml", "torch", "transformers", "safetensors")
    if missing_packages := [name for name in required_packages if importlib.util.find_spec(name) is None]:
        print(f"error: training needs {', '.join(missing_packages)}: pip install 'sightline[train]'", file=sys.stderr)
        return 1
    try:
        if options.mine and (not options.config or options.nproc_per_node > 1):
            raise ConfigError("--mine goes with --config and runs in one process")
        if config_arguments and not options.config:
            raise ConfigError(f"--{'merge' if options.merge else 'average'} takes no {config_arguments[0]}")
        if options.nproc_per_node > 1 and options.config:
            read(options.config, _overrides(config_arguments))  # a wrong key is one line, not one a process
            own = ["--config", str(options.config), "--output_dir", str(options.output_dir)]
            return launch(options.nproc_per_node, [*own, *config_arguments])
        if options.average:
            from train.average import average

            average(options.average, options.output_dir)
            print(f"averaged into {options.output_dir}", file=sys.stderr)
            return 0
        if options.merge:
            from train.towers.qwen import merge

            merge(options.merge, options.output_dir)
            print(f"merged into {options.output_dir}", file=sys.stderr)
            return 0
        config = read(options.config, _overrides(config_arguments))
        if options.mine:
            _mine(config, options.mine, options.output_dir)
            return 0
        from train.trainer import train

        outcome = train(config, options.output_dir)
    except Exception as error:
        if not _is_user_error(error):
            raise
        from train.trainer import OutOfMemory

        if is_first or isinstance(error, OutOfMemory):
            print(f"error: {error}", file=sys.stderr)
        return 2 if isinstance(error, ConfigError) else 1
    if is_first:
        say_ended()
    if is_first and outcome.stopped:
        print(f"stopped after step {outcome.step}; the same command goes on from {outcome.checkpoint}", file=sys.stderr)
    elif is_first:
        print(f"done: {outcome.checkpoint}", file=sys.stderr)
    return 0


def _overrides(arguments: list[str]) -> dict[str, Any]:
    """Parse `--max_steps 200 --use_dora=false` into config keys; the values are parsed as YAML."""
    import yaml

    overrides: dict[str, Any] = {}
    remaining = list(arguments)
    while remaining:
        option = remaining.pop(0)
        if not option.startswith("--"):
            raise ConfigError(f"{option} is not an option: options start with --")
        key, equals, value = option[2:].partition("=")
        if not equals:
            if not remaining:
                raise ConfigError(f"--{key} needs a value")
            value = remaining.pop(0)
        overrides[key] = yaml.safe_load(value)
    return overrides


def _mine(config: Config, teacher_name: str, output_dir: Path) -> None:
    """Mine every source of a config into `<output_dir>/<source>.npz`; those that are there are kept."""
    from dataclasses import replace

    from model.loading import load
    from train.mining import mine_source
    from train.trainer import open_sources

    teacher = load(teacher_name, device=config.device)
    for source in open_sources(replace(config, mined=None)):
        path = output_dir / f"{source.name}.npz"
        if path.exists():
            print(f"{source.name}: mined already, {path}", file=sys.stderr)
            continue
        mined = mine_source(
            source,
            teacher,
            max_frames=config.max_frames,
            negatives=max(1, config.hard_negatives),
            cluster=config.sub_batch_size,
            seed=config.seed,
        )
        mined.save(path)
        share = (mined.negatives >= 0).mean()
        print(f"{source.name}: {len(source):,} rows, {share:.0%} of their negatives found, {path}", file=sys.stderr)


def _is_user_error(error: Exception) -> bool:
    """Whether an error is a message for the user; any other exception is a bug and keeps its traceback."""
    from data.sources.pair import SourceError
    from model.embedder import ModelError
    from train.checkpoint import CheckpointError
    from train.loading import DataError
    from train.mining import MiningError
    from train.mixing import MixingError
    from train.trainer import TrainError

    user_errors = (
        ConfigError,
        SourceError,
        ModelError,
        CheckpointError,
        DataError,
        MiningError,
        MixingError,
        TrainError,
    )
    return isinstance(error, user_errors)


if __name__ == "__main__":
    sys.exit(main())
