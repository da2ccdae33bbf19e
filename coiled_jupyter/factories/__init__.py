"""The table of cluster factories."""
