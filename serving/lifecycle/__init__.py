"""The life of a model server process: launch, load, control socket, handover, drain.

Here: everything that happens to a server apart from requests. Never here: the decision when any of it happens; that
comes from the receiver, over the control socket.
"""
