"""What this machine is used with."""

from __future__ import annotations

import numpy as np  # noqa: F401  its BLAS is what is asked about
import pytest
from threadpoolctl import threadpool_info, threadpool_limits

from model.machine import one_thread_products, this_machine


def threads_of_numpy() -> list[int]:
    return [info["num_threads"] for info in threadpool_info() if "numpy" in info["filepath"]]


def test_numpy_multiplies_in_one_thread_and_a_measurement_changes_nothing() -> None:
    if not threads_of_numpy():
        pytest.skip("numpy has no BLAS of its own here")
    with threadpool_limits(2, "blas"):
        one_thread_products()
        assert threads_of_numpy() == [1]
        assert this_machine().gflops > 0
        assert threads_of_numpy() == [1]
