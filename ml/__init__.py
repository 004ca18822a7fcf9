"""Training, evaluation and evidence: from data to a registered version with a measured verdict.

The gate measures through ``serving``'s own predictor, so what was gated is what serves. Nothing here deploys.
"""
