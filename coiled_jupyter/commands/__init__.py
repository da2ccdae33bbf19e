"""What a person can ask for by words, in a shell or a notebook's cell."""
