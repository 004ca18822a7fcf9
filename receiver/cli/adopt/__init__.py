"""``pinrail adopt``: a pin, with its gate and a file for evaluation rows, for a model that is registered already.

Writes into the work tree only. Merging what it wrote is what deploys.
"""
