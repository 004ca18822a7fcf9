"""The gate: one check per file. A check turns measurements into a number; thresholds come from the environment."""
