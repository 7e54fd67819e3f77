"""Features built on search: moments, labels, duplicates, reels, exports, evaluation of a person's library."""
