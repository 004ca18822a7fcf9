"""Observing and deciding without writing: pins, registry and servers become an assessment per slot.

Nothing is changed here.
"""
