"""The controller, the fetcher, the registry's thread, and the flow of one slot.

They know core, ports, planning and notifications; no SQLite and no GitHub.
"""
