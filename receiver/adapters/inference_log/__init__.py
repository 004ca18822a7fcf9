"""The inference logs on this machine: where they are, and what becomes of the segments that model servers write.

A model server may write anything into its directory, so nothing in it is trusted: its name, its type, its content.
"""
