"""What can go wrong between a registry and an answer. The texts are for the person who reads them."""


class ServingError(Exception):
    """Base of the errors that serving raises on purpose; anything else is a bug."""


class RegistryUnavailableError(ServingError):
    """The registry or its artifact store did not answer in time, or not sensibly: the same may work later."""


class ModelMissingError(ServingError):
    """The registry has no such version, or the version has no artifacts: trying again will not help."""


class DigestDiffersError(ServingError):
    """The artifacts are not the ones that were asked for."""


class UnsupportedModelError(ServingError):
    """The artifacts are there, and are no model that this server can answer for; the text says what to change."""


class PredictionError(ServingError):
    """The model was asked properly and has no answer that could be given."""
