"""The flow: observe, assess, apply, verify, roll back.

It knows core, ports and planning; no SQLite and no GitHub.
"""
