"""The wire formats of a model server: its own, MLflow's scoring protocol, the Open Inference Protocol.

Here: pure translation between a request's bytes and checked rows, and between predictions and a response's bytes.
Never here: reading a body, calling a model, choosing an HTTP status.
"""
