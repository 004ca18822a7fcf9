"""Evidence as a gate records it, and a key that signs it."""

from ml.evidence import CheckOutcome, Evidence, Verdict
from ml.evidence_key import new_key

KEY, OTHER_KEY = new_key(), new_key()
EVIDENCE = Evidence(
    model="m",
    version=2,
    environment="staging",
    model_digest="sha256:1",
    data_digest="sha256:2",
    gate_digest="sha256:3",
    verdicts=(Verdict("accuracy", CheckOutcome.PASS, 0.81, ">=", 0.8, "810 of 1,000 rows are answered correctly"),),
    measured_at=1.5,
)
