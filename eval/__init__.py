"""MMEB-V2 scoring of any model that `model.load` takes."""
