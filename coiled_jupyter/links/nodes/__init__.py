"""Surveys the nannies and workers of one cluster, builds layers on them and restarts them, through their scheduler."""
