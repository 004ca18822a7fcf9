"""``log_loss``: how much the probabilities can be believed; a confident mistake costs most."""

import math

from ml.gates.subject import Measurement, Subject


def measure(subject: Subject) -> Measurement:
    """Average the negative logarithm of the probability that the model gave to what came true."""
    from sklearn.metrics import log_loss

    value = float(log_loss(subject.data.labels, subject.answers.positive(), labels=[0, 1]))
    says = f"what came true was given a probability of {math.exp(-value):.2f} on (geometric) average"
    return Measurement(value, says)
