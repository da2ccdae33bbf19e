"""What things mean: pure functions and data, no input or output."""
