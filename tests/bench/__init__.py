"""Benchmarks: every claim of speed or memory as a ratio against a bare baseline in the same run."""
