"""The packages that a model version needs: what it lists, what there is, and an environment that has both.

``requirements.py`` reads and decides without doing anything; ``store.py`` keeps the environments, and ``build.py``
makes one with uv. Never here: git, pins, or loading a model.
"""
