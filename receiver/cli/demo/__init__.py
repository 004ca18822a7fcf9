"""``pinrail demo``: promotion and rollback on one machine, with a bare repository in place of GitHub.

Only the surroundings are set up here: everything that it shows is done by the production code.
"""
