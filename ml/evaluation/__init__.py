"""Measuring one version and applying every environment's gate."""
