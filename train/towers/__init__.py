"""The models in training: Qwen backbones and a small student."""
