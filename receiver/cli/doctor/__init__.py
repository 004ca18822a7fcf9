"""``pinrail doctor``: what is missing for a working set-up.

Each check is a small function that examines one thing and returns a :class:`~receiver.cli.doctor.check.Check`:
what was found, and what to do. Checks change nothing outside the state directory; each has a deadline.
"""
