"""Makes the ONNX graphs of EmbeddingGemma 2 from its authors' own checkpoint, without torch."""
