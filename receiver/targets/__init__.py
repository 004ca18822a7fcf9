"""Where model servers run: ``process`` (embedded default) and ``compose``. Registry and git are unknown here."""
