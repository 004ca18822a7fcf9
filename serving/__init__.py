"""The model server: one process that serves one exact version of a model over HTTP.

Here: loading a version by its digest, the prediction protocols, metrics, and the handover of the public port to the
next server. Never here: git, pins, gates and training. Nothing here imports ``ml`` or ``receiver``; the serving image
holds this package alone.
"""
