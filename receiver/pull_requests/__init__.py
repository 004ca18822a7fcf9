"""A promotion is a pull request: proposing, planning, merging and reverting it. Nothing is deployed here."""
