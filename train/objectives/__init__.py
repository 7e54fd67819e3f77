"""What is minimised: contrastive loss, distillation."""
