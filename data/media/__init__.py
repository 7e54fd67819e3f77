"""Readers of images, videos and PDFs."""
