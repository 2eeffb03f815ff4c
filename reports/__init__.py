"""Records in; tables, figures and a static site out. Nothing here imports torch or runs an encoder."""
