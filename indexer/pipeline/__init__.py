"""The pipeline: hash, decode, embed, write, then OCR and speech; one file a stage."""
