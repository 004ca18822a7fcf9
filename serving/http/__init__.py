"""HTTP for the scoring paths: bodies, bounds, endpoints and refusals. No model is known here."""
