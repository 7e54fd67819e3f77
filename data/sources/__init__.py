"""Training sources: rows on disk to pairs of (query, positive, negatives). See `docs/training.md`."""
