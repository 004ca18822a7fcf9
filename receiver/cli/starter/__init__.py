"""``pinrail init``: a repository of pins for somebody's own models. Writes files; asks no registry and no git."""
