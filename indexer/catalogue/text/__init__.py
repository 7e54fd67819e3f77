"""Text search in the catalogue: expressions over text indexes, tokenizers, spelling."""
