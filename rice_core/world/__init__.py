"""The miniature world: seeded scenes whose truth is known, written in the on-disk layouts of real data sets."""
