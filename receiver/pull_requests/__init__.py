"""A promotion is a pull request: proposing, planning, merging, taking back. Nothing is deployed here."""
