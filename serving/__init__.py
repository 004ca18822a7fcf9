"""A model server for one exact version: load by digest, answer /health and /predict, hand over, drain.

Knows nothing of git, pins, gates or training, and imports neither ``ml`` nor ``receiver``.
"""
