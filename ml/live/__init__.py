"""What became of versions after they went live: labels that came later, realised metrics, and drift.

Everything here reads the inference log. No model is run, and nothing outside this machine is asked.
"""
