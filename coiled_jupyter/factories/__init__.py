"""The kinds of clusters that can be started, and what each declares."""
