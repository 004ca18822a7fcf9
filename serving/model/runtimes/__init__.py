"""The runtimes that can run a model; each imports its own libraries when it is chosen.

A runtime takes one sequence of Python values per column, in the signature's order, and returns
:class:`serving.model.predictions.Predictions`. Never here: HTTP, other requests, or checks of the input.
"""
