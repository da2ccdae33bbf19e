"""Texts that are evaluated in other processes: one self-contained, stdlib-only file each, Python 3.8 and newer."""
