"""RICE's own: regions, clusters, objectives and their training. Nothing that measures imports it."""
