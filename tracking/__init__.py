"""Tracking on a frozen encoder, OSTrack's way with two inserted blocks (paper, Table 4): pairs, model, tracker, metrics, submissions."""
