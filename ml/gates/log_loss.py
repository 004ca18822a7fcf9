"""``log_loss``: how reliable the probabilities are; a confident mistake costs most."""

import math
from collections.abc import Sequence

from ml.environment.gate_schema import Threshold
from ml.evidence import Verdict
from ml.gates.judge import judge
from ml.gates.subject import Subject


def check(subject: Subject, limit: Threshold) -> Sequence[Verdict]:
    """Average the negative logarithm of the probability that the model gave to the true label."""
    value = -float(subject.log_shares().mean())
    says = f"the true label got a probability of {math.exp(-value):.2f} on (geometric) average"
    return [judge("log_loss", value, limit, says)]
