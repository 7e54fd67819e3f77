"""The models that are trained: Qwen backbones, and a small student."""
