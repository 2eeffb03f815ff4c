"""Referring segmentation: masks of what sentences name, and what they are worth."""
