"""Contrastive training of the shared model."""
