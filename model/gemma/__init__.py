"""EmbeddingGemma 2 on onnxruntime or torch: text, images, pages and clips in one space."""
