"""Measurements of this project beside what does the same without it, as ratios inside one run."""
