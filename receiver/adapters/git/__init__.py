"""The git remote: fetching, reading and building commits. Nothing is ever checked out in the mirror."""
