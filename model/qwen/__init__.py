"""Qwen2-VL and Qwen2.5-VL backbones, VLM2Vec-V2 among them."""
