"""Fitting, packaging and describing the model that ``ml.train`` registers."""
