"""MMEB-V2: what a task is, and readers from a local copy of its data to prompts and pictures."""
