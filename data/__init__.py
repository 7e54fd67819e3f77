"""Bytes to arrays: media readers, chunking, benchmark and training sources. Imports only `model.inputs`."""
