"""The miniature world on disk, one module a data set's layout."""
