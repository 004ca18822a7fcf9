"""A model server's life: start, load, control socket, handover, drain."""
