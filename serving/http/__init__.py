"""HTTP below the prediction protocols: request bodies, limits, endpoints, error responses.

Here: what every scoring path shares, and the limits of every listener that uvicorn runs. Never here: a wire format or
a model.
"""
