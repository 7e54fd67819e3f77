"""What is built on answers: moments, labels, duplicates, reels, exports, judging one's own library."""
