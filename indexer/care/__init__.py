"""Care of a library: checked, repaired, backed up."""
