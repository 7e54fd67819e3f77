"""Bytes to arrays: media readers, chunking, benchmark and training sources. Imports `model.inputs`, nothing else of ours."""
