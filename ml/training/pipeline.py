"""The model that ``ml.train`` fits: a logistic regression with preprocessing per column type."""

from sklearn.compose import ColumnTransformer
from sklearn.impute import SimpleImputer
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import Pipeline
from sklearn.preprocessing import OneHotEncoder, StandardScaler

from ml.datasets.dataset import Columns

MAX_ITERATIONS = 1000


def build(columns: Columns, *, regularisation: float, seed: int) -> Pipeline:
    """Return an unfitted pipeline.

    Amounts are missing if nothing has been billed yet, so 0 replaces them. A category that was not in the training
    data counts as none of the known ones.

    Args:
        columns: the features and their types.
        regularisation: the inverse strength ``C``: smaller is simpler.
        seed: for solvers that draw random numbers; this one (L-BFGS) does not, and gives one answer for all seeds.
    """

    def of(kind: type) -> list[str]:
        return [name for name, k in columns.features.items() if k is kind]

    amounts = Pipeline([("impute", SimpleImputer(strategy="constant", fill_value=0.0)), ("scale", StandardScaler())])
    prepare = ColumnTransformer(
        [
            ("amounts", amounts, of(float)),
            ("counts", StandardScaler(), of(int)),
            ("categories", OneHotEncoder(handle_unknown="ignore", sparse_output=False), of(str)),
        ]
    )
    classify = LogisticRegression(C=regularisation, max_iter=MAX_ITERATIONS, random_state=seed)
    return Pipeline([("prepare", prepare), ("classify", classify)])
