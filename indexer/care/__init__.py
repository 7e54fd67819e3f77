"""Care of a library: verification, repair, backup."""
