"""What is written survives: atomic files, sealed JSON, temporaries that are swept, paths without machines."""
