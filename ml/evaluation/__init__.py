"""Measuring one version and holding it against every environment's gate."""
