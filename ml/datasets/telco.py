"""The committed data: Telco customers who left or stayed. Its provenance is in ``ml/data/README.md``."""

from pathlib import Path

from ml.datasets.dataset import Columns, Dataset, read

PATH = Path(__file__).parents[1] / "data" / "telco_churn.csv.gz"

COLUMNS = Columns(
    features={
        "female": int,
        "senior_citizen": int,
        "partner": int,
        "dependents": int,
        "tenure": int,
        "phone_service": int,
        "multiple_lines": str,
        "internet_service": str,
        "online_security": str,
        "online_backup": str,
        "device_protection": str,
        "tech_support": str,
        "streaming_tv": str,
        "streaming_movies": str,
        "contract": str,
        "paperless_billing": int,
        "payment_method": str,
        "monthly_charges": float,
        "total_charges": float,
    },
    missing=frozenset({"total_charges"}),
    label="churn",
    classes=("No", "Yes"),
)


def load(path: Path = PATH) -> Dataset:
    """Read Telco customers, the committed ones or a file with the same columns. DataError: it is not that."""
    return read(path, COLUMNS)
