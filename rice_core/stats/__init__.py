"""Error bars: of means over clustered samples, of ratios and of differences."""
