"""``pinrail demo``: the whole story on one machine, with the real parts and a bare repository in GitHub's place.

Only the staging is made up here: everything that it shows is done by the code that runs in earnest.
"""
