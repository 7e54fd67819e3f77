"""Which inputs share a batch.

Built around one rule: sort by length and fill batches up to a token budget, padding
included. It knows nothing of models.
"""

from __future__ import annotations

from collections.abc import Sequence


def plan_batches(lengths: Sequence[int], budget: int) -> list[list[int]]:
    """Indices of `lengths` in batches whose rows × longest row stays within `budget`.

    Longest first, so that what will not fit in memory shows at once. An input
    longer than the budget travels alone. Every index comes exactly once.
    """
    order = sorted(range(len(lengths)), key=lambda i: -lengths[i])
    batches: list[list[int]] = []
    for i in order:
        if batches and (len(batches[-1]) + 1) * lengths[batches[-1][0]] <= budget:
            batches[-1].append(i)
        else:
            batches.append([i])
    return batches
