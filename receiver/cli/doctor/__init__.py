"""``pinrail doctor``: what is missing between here and a working set-up.

Each check is a small function that looks at one thing and answers with a :class:`~receiver.cli.doctor.check.Check`:
what was found, and what to do. Checks change nothing outside the state directory; none of them hangs or raises.
"""
