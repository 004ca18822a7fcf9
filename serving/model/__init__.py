"""A model version on this machine: cache, digest, signature, predictor and runtimes. No HTTP here."""
