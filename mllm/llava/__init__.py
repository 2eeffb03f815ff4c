"""LLaVA-NeXT with any encoder: tiles of a picture, text and labels, the model."""
