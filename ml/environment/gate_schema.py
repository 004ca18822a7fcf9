"""The gate section of an environment file: every available check and its limits.

To add a check: one line in :class:`Gate`, and a file in ``ml/gates`` that measures it.
"""

from collections.abc import Mapping
from typing import Annotated, Any, ClassVar, Literal, Protocol

from pydantic import (
    AfterValidator,
    ConfigDict,
    Field,
    StrictBool,
    StrictInt,
    StrictStr,
    ValidationError,
    ValidatorFunctionWrapHandler,
    WrapValidator,
    with_config,
)
from pydantic.dataclasses import dataclass
from pydantic.json_schema import SkipJsonSchema
from pydantic_core import PydanticCustomError
from typing_extensions import TypedDict  # pydantic needs this one below Python 3.12

ONLY_THESE = ConfigDict(extra="forbid")


def says(allowed: str, advice: str) -> WrapValidator:
    """Explain a refused value: what is ``allowed``, and what to do (``advice``)."""

    def check(value: Any, inner: ValidatorFunctionWrapHandler) -> Any:
        try:
            return inner(value)
        except ValidationError:
            raise PydanticCustomError("says", "{allowed}", {"allowed": allowed, "advice": advice}) from None

    return WrapValidator(check)


Share = Annotated[
    float,
    Field(strict=True, ge=0, le=1, allow_inf_nan=False),
    says("a number from 0 to 1, like 0.8", "write the share, not a percentage, and no quotes"),
]
Amount = Annotated[
    float,
    Field(strict=True, gt=0, le=1e12, allow_inf_nan=False),
    says("a number above 0, like 50", "write a plain number without a unit and without quotes"),
]
Count = Annotated[
    int,
    Field(strict=True, ge=0, le=10_000),
    says("a whole number from 0, like 0", "write how many are tolerated"),
]
Digest = Annotated[
    str,
    Field(strict=True, pattern=r"^sha256:[0-9a-f]{64}$"),
    says("sha256: and 64 hexadecimal digits", "copy it from the gate's report or the evidence"),
]
Column = Annotated[
    str,
    Field(strict=True, pattern=r"^[^\x00-\x1f\x7f-\x9f\u2028\u2029]{1,200}$"),
    says("the name of a column, printable", "write it as in the model's signature"),
]
Columns = Annotated[
    tuple[Column, ...],
    Field(min_length=1, max_length=50),
]
COLUMNS = says("a list of columns, like [senior_citizen, female]", "name the columns in brackets")


def _given(value: Any) -> Any:
    if value is None:
        raise ValueError
    return value


def _optional(description: str) -> Any:
    return Field(description=description, json_schema_extra=_without_default)


def _without_default(schema: dict[str, Any]) -> None:
    schema.pop("default", None)


# For optional fields: `noise:` without a value is refused, so that it cannot silently switch a limit off.
LeftOut = SkipJsonSchema[None]
GIVEN = AfterValidator(_given)
LIMIT = says("a limit, like {max: 0.2}", "write the limit, or leave the line out")


class Threshold(Protocol):
    """One limit: exactly one of the two is not None."""

    @property
    def min(self) -> float | None:
        """The least that passes."""

    @property
    def max(self) -> float | None:
        """The most that passes."""


@dataclass(frozen=True, slots=True, config=ONLY_THESE)
class AtLeast:
    """A check that passes from ``min`` upwards."""

    min: Share
    max: ClassVar[None] = None


@dataclass(frozen=True, slots=True, config=ONLY_THESE)
class AtMost:
    """A check that passes up to ``max``."""

    max: Amount
    min: ClassVar[None] = None


@dataclass(frozen=True, slots=True, config=ONLY_THESE)
class AtMostShare:
    """A check of a share that passes up to ``max``."""

    max: Share
    min: ClassVar[None] = None


@dataclass(frozen=True, slots=True, config=ONLY_THESE)
class AtMostCount:
    """A check that counts, and passes up to ``max``."""

    max: Count
    min: ClassVar[None] = None


@dataclass(frozen=True, slots=True, config=ONLY_THESE)
class EvaluationData:
    """The rows that count; evidence from any other rows does not."""

    digest: Digest


@dataclass(frozen=True, slots=True, config=ONLY_THESE)
class FairnessLimits:
    """How far the groups of each sensitive column may be apart."""

    columns: Annotated[Columns, COLUMNS, Field(description="Sensitive columns of the evaluation data.")]
    demographic_parity: Annotated[
        AtMostShare | LeftOut, GIVEN, LIMIT, _optional("Difference of the shares that are decided positive.")
    ] = None
    equalized_odds: Annotated[
        AtMostShare | LeftOut, GIVEN, LIMIT, _optional("Larger difference of true and of false positive rates.")
    ] = None


@dataclass(frozen=True, slots=True, config=ONLY_THESE)
class RobustnessLimits:
    """Which share of the decisions may flip when the input is a little off."""

    noise: Annotated[
        AtMostShare | LeftOut, GIVEN, LIMIT, _optional("Under small noise on every measured number.")
    ] = None
    missing: Annotated[
        AtMostShare | LeftOut, GIVEN, LIMIT, _optional("When a field that may be missing is; the worst field.")
    ] = None
    unseen: Annotated[
        AtMostShare | LeftOut, GIVEN, LIMIT, _optional("When a text is none that training knew; the worst column.")
    ] = None


@dataclass(frozen=True, slots=True, config=ONLY_THESE)
class DriftLimits:
    """How far the evaluation data may be from the data that trained the model; the worst column counts."""

    psi: Annotated[AtMost | LeftOut, GIVEN, LIMIT, _optional("Population stability index; 0.2 is a usual alarm.")] = (
        None
    )
    ks: Annotated[AtMostShare | LeftOut, GIVEN, LIMIT, _optional("Kolmogorov-Smirnov distance, for numbers.")] = None


@dataclass(frozen=True, slots=True, config=ONLY_THESE)
class ChampionPolicy:
    """How a version compares with the one that is live in this environment, row by row."""

    require: Annotated[
        Literal["improve", "hold"],
        says("improve or hold", "`improve`: surely better; `hold`: surely not worse by more than the margin"),
        Field(description="`improve`: surely better. `hold`: surely not worse by more than `margin`."),
    ]
    metric: Annotated[
        Literal["accuracy", "log_loss", "squared_error"],
        says("accuracy, log_loss or squared_error", "choose what is compared on each row"),
        Field(description="What is compared on each row."),
    ] = "accuracy"
    margin: Annotated[Share, Field(description="How much worse still counts as holding.")] = 0.01
    slices: Annotated[
        Columns | LeftOut, GIVEN, COLUMNS, _optional("Columns whose every category is compared by itself.")
    ] = None
    slice_margin: Annotated[Share, Field(description="How much worse a slice may get.")] = 0.05


@dataclass(frozen=True, slots=True, config=ONLY_THESE)
class ContractLimits:
    """Which requests of the inference log a version must be able to answer."""

    days: Annotated[
        int,
        Field(strict=True, ge=1, le=3650, description="Of how many last days."),
        says("a whole number of days from 1, like 30", "write the number alone"),
    ] = 30


@dataclass(frozen=True, slots=True, config=ONLY_THESE)
class ReplayLimits:
    """How many answers to the last rows of the inference log may change."""

    flips: Annotated[AtMostShare, LIMIT, Field(description="Share of the decisions that would change.")]
    rows: Annotated[
        int,
        Field(strict=True, ge=300, le=100_000, description="How many of the last rows are answered."),
        says("a whole number from 300 to 100000, like 10000", "write how many of the last rows count"),
    ] = 10_000
    slices: Annotated[
        Columns | LeftOut, GIVEN, COLUMNS, _optional("Columns whose every category is compared by itself.")
    ] = None


@with_config(ONLY_THESE)
class Gate(TypedDict, total=False):
    """What a version must reach on the evaluation data before it may serve here. `{}`: nothing is asked."""

    positive: Annotated[
        StrictBool | StrictInt | StrictStr,
        Field(description="The positive class; of two classes, the last in order if not named."),
        says("a class, like Yes or 1", "write one of the classes that the model answers with"),
    ]
    data: Annotated[EvaluationData, Field(description="The evaluation rows that a version must be measured on.")]
    accuracy: Annotated[AtLeast, Field(description="Share of right answers.")]
    roc_auc: Annotated[AtLeast, Field(description="Area under the ROC curve.")]
    f1: Annotated[AtLeast, Field(description="Harmonic mean of precision and recall.")]
    log_loss: Annotated[AtMost, Field(description="Cross-entropy of the probabilities.")]
    calibration_error: Annotated[AtMost, Field(description="Expected distance of probability from frequency.")]
    mae: Annotated[AtMost, Field(description="Mean absolute error of a regression, in its unit.")]
    rmse: Annotated[AtMost, Field(description="Root of the mean squared error, in the label's unit.")]
    r2: Annotated[AtLeast, Field(description="Share of the label's variance that a regression explains.")]
    schema: Annotated[
        AtMostCount,
        Field(description="Changes of the signature that break callers of the version that is live here."),
    ]
    latency_p95_ms: Annotated[AtMost, Field(description="95th percentile of one prediction, in milliseconds.")]
    memory_mb: Annotated[AtMost, Field(description="Resident memory of the model's server, in megabytes.")]
    fairness: Annotated[FairnessLimits, Field(description="Differences between groups, per sensitive column.")]
    robustness: Annotated[RobustnessLimits, Field(description="Decisions that flip on slightly different input.")]
    drift: Annotated[DriftLimits, Field(description="Distance of the evaluation data from the training data.")]
    contract: Annotated[
        ContractLimits, Field(description="Callers, by the inference log, whose requests would be refused: none.")
    ]
    replay: Annotated[
        ReplayLimits, Field(description="Answers of the live version, by the inference log, that would change.")
    ]
    champion: Annotated[ChampionPolicy, Field(description="Comparison with the version that is live here.")]


POSITIVE = "positive"


def checks_of(gate: Mapping[str, Any]) -> Mapping[str, Any]:
    """Return a gate's checks with their limits, without what holds for all of them."""
    return {name: limits for name, limits in gate.items() if name != POSITIVE}
