"""Compares a kernel's environment with a cluster's and decides what the differences mean."""
