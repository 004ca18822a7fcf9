"""Pins, state, plan, policy, deployment, errors: plain data and pure functions. No I/O of any kind happens here."""
