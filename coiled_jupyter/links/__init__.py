"""Ways to reach the places where software is installed."""
