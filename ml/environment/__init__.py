"""The environment file: its shape, its parser and its JSON Schema. Pure."""
