"""Training and evaluation data, identified by a digest of the rows. No model here."""
