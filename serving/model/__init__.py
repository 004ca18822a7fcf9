"""A model version on this machine: cache, digest, signature, request schema, predictor and runtimes.

Here: everything from the registry's artifacts to predictions for checked rows; the gate measures through it. Never
here: HTTP, and the queue of requests.
"""
