"""Rows with an identity: training and evaluation data. No model here."""
