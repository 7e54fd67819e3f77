"""What bench-train says of a model too large for here: the count is right, and a card's line comes."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest

from model.qwen.vision import PROTOCOL_MAX_PIXELS
from tests.bench import train as bench
from tests.bench.counted import (
    QWEN2_VL_2B,
    allocated,
    clips,
    count_flops,
    count_memory,
    count_tokens,
    pictures,
    questions,
)

SMALL: dict[str, Any] = {
    "text_config": {
        "hidden_size": 64, "intermediate_size": 256, "num_hidden_layers": 2, "num_attention_heads": 2,
        "num_key_value_heads": 1, "vocab_size": 512, "bos_token_id": None, "eos_token_id": None,
        "rope_parameters": {"rope_type": "default", "rope_theta": 1e6, "mrope_section": [4, 6, 6]},
    },
    "vision_config": {"depth": 2, "embed_dim": 64, "hidden_size": 64, "num_heads": 1},
}  # fmt: skip
SIDES = questions(3), pictures(3, 112 * 112)


@pytest.mark.long
@pytest.mark.parametrize("changes", [{}, {"gradient_checkpointing": False}, {"chunk_size": 0}], ids=str)
def test_a_step_without_numbers_counts_what_the_allocator_gives_out(changes: dict[str, Any]) -> None:
    config = bench.one_card(**{"dtype": "float32", "max_pixels": 112 * 112} | changes)
    got = count_memory(config, SMALL, *SIDES)
    assert got == count_memory(config, SMALL, *SIDES, fake=False)
    assert got.peak == pytest.approx(allocated(config, SMALL, *SIDES), rel=0.02)
    assert got.peak > got.weights + got.gradients + got.moments and got.moments > 1.9 * got.gradients


def test_chunks_and_checkpoints_are_seen_by_the_count() -> None:
    config = bench.one_card(max_pixels=112 * 112)
    whole, kept = (
        count_memory(bench.one_card(max_pixels=112 * 112, **changes), SMALL, *SIDES).activations
        for changes in ({"chunk_size": 0}, {"gradient_checkpointing": False})
    )
    assert count_memory(config, SMALL, *SIDES).activations < min(whole, kept)
    assert count_flops(config, SMALL, *SIDES) == count_flops(bench.one_card(chunk_size=0), SMALL, *SIDES)


@pytest.mark.long
@pytest.mark.parametrize("shown", [pictures, clips])
def test_a_step_of_the_2b_fits_the_24_gb_config(shown: Any) -> None:
    """22 GB at most, with 2 GB of it for what the card itself needs."""
    config = bench.one_card()
    assert config.max_pixels == PROTOCOL_MAX_PIXELS
    sides = questions(config.chunk_size), shown(config.chunk_size, config.max_pixels)
    got = count_memory(config, QWEN2_VL_2B, *sides)
    assert 4.4e9 < got.weights < 4.6e9, "2.2 billion weights of two bytes"
    assert got.peak < 20e9


@pytest.mark.parametrize(
    "card, weights, told",
    [
        ("Test T1", "LoRA", r"\d+\.\d% of its peak"),
        ("Other", "LoRA", "its peak is not known"),
        ("Test T1", "all weights", r"\d+\.\d% of its peak"),
    ],
)
def test_where_there_is_a_card_its_tokens_a_second_and_its_share_of_peak_are_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, card: str, weights: str, told: str
) -> None:
    """The card is this machine's CPU; the run and the arithmetic are those of a real one."""
    monkeypatch.setitem(bench.BF16_PEAK, "T1", 1e11)
    monkeypatch.setattr(bench, "STEPS", 3)
    bench.prepare(tmp_path, SMALL, side=56)
    said = bench.on_card(tmp_path, card, "cpu", SMALL, 3136, weights, batch=8, workers=0)
    assert re.fullmatch(rf"{card}: 2B's shape, {weights}, \d+\.\d\d pairs/s, \d+ tokens/s, {told}, \d+\.\d GB\.", said)
    config = bench.one_card(max_pixels=3136, **bench.BARE[weights])
    flops = bench.flops_of_a_pair(config, SMALL)
    pairs, tokens = (float(number) for number in re.findall(r"([\d.]+) (?:pairs|tokens)/s", said))
    assert tokens / pairs == pytest.approx(count_tokens(config, SMALL, questions(3), pictures(3, 3136)) / 3, rel=0.05)
    if "known" not in told:
        (share,) = (float(number) for number in re.findall(r"(\d+\.\d+)%", said))
        assert share == pytest.approx(100 * pairs * flops / 1e11, abs=0.06 + 0.01 * share)


def test_tokens_are_counted_without_padding() -> None:
    config = bench.one_card(max_pixels=112 * 112)
    alone = [count_tokens(config, SMALL, [question], pictures(1, 112 * 112)) for question in questions(3)]
    assert count_tokens(config, SMALL, questions(3), pictures(3, 112 * 112)) == sum(alone)
    assert len(set(alone)) == 3 and min(alone) > 16
