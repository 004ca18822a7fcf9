"""The ways to run a model; each imports its own heavy libraries, and only when it is chosen.

A runtime takes one sequence of Python values per column, in the signature's order, and answers with
:class:`serving.model.predictor.Predictions`. It knows nothing of HTTP or of other requests.
"""
