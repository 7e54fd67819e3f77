"""Losses: contrastive, distillation."""
