"""EmbeddingGemma 2 on onnxruntime: text, pictures, pages and clips in one space, without torch."""
