"""Software environments of a user, kept under names: made from files, locked, exported, installed as kernels, cleaned."""
