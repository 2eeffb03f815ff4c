"""The nouns every package shares: encoders, features, probes, records, the store, and the miniature world."""

__version__ = "0.1.0"
