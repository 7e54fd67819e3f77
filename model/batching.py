"""Which inputs share a batch.

Built around one rule: longest first, and a batch ends where the next row would break the token
budget or bring the padding over what a batch costs by itself. It knows nothing of models.
"""

from __future__ import annotations

from collections.abc import Sequence


def plan_batches(lengths: Sequence[int], budget: int, padding: int | None = None) -> list[list[int]]:
    """Indices of `lengths` in batches whose rows × longest row stays within `budget`.

    `padding`: tokens that a batch may hold for nothing before a new one is begun (None: any
    number). Longest first, so that what will not fit in memory shows at once. An input
    longer than the budget travels alone. Every index comes exactly once.
    """
    order = sorted(range(len(lengths)), key=lambda i: -lengths[i])
    batches: list[list[int]] = []
    longest = wasted = 0
    for i in order:
        wasted += longest - lengths[i]
        fits = batches and (len(batches[-1]) + 1) * longest <= budget
        if fits and (padding is None or wasted <= padding):
            batches[-1].append(i)
        else:
            batches.append([i])
            longest, wasted = lengths[i], 0
    return batches
