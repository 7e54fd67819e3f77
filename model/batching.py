"""Groups inputs into batches.

Built around one rule: longest first, and a batch ends where the next row would exceed the token budget or the
padding limit. It knows nothing of models.
"""

from __future__ import annotations

from collections.abc import Sequence


def plan_batches(lengths: Sequence[int], budget: int, padding: int | None = None) -> list[list[int]]:
    """Returns batches of indices of `lengths`, each with rows × longest row at most `budget`.

    `padding`: the padding tokens that a batch may hold (None: any number). Longest first, so that a lack of memory
    shows at once. An input longer than the budget is a batch of its own. Every index occurs once.
    """
    order = sorted(range(len(lengths)), key=lambda i: -lengths[i])
    batches: list[list[int]] = []
    longest = n_padding = 0
    for i in order:
        n_padding += longest - lengths[i]
        fits = batches and (len(batches[-1]) + 1) * longest <= budget
        if fits and (padding is None or n_padding <= padding):
            batches[-1].append(i)
        else:
            batches.append([i])
            longest, n_padding = lengths[i], 0
    return batches
