"""The engine: plans become cells, cells records, each measured once and reused while what it is made of stands."""
