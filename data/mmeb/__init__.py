"""MMEB-V2: tasks and readers from a local copy of its data to prompts and images."""
