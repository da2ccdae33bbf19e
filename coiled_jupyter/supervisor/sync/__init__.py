"""Carries out one sync on one cluster, and goes back if a step fails."""
