"""What a sync changes, decided without input or output."""
