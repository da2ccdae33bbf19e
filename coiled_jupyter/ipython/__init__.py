"""What a notebook or script uses: the way to a cluster."""
