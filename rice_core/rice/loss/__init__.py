"""Region cluster discrimination: the loss, its banks of class centers, and their optimizer."""
