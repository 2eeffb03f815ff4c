"""A language model on a vision encoder: how it is trained and asked (paper, Table 1). Imports rice_core and nothing else of ours."""
