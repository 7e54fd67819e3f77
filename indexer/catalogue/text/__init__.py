"""Words in the catalogue: expressions over text indexes, their tokenizers, spelling."""
