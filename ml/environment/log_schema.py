"""The log section of an environment file: what of requests and answers is recorded, and for how long."""

from typing import Annotated

from pydantic import AfterValidator, Field, with_config
from typing_extensions import TypedDict  # pydantic needs this one below Python 3.12

from ml.environment.gate_schema import ONLY_THESE, Column, Share, says

SECRET_HEADERS = frozenset({"authorization", "proxy-authorization", "cookie", "x-api-key"})


def _no_secret(header: str) -> str:
    if header.lower() in SECRET_HEADERS:
        raise ValueError
    return header


Switch = Annotated[
    bool,
    Field(strict=True),
    says("true or false", "write false where nothing is to be recorded"),
]
Days = Annotated[
    str,
    Field(strict=True, pattern=r"^[1-9][0-9]{0,3}d$"),
    says("days like 30d", "write the number of days and a d"),
]
Megabytes = Annotated[
    int,
    Field(strict=True, ge=1, le=1_000_000),
    says("a whole number from 1 to 1000000, like 2048", "write megabytes, without a unit"),
]
Header = Annotated[
    str,
    Field(strict=True, pattern=r"^[A-Za-z0-9-]{1,64}$"),
    AfterValidator(_no_secret),
    says(
        "the name of a header, but of none that holds a secret, like X-Caller",
        "let callers send their name in a header of its own",
    ),
]
Columns = Annotated[
    tuple[Column, ...],
    Field(max_length=500),
    says("a list of columns, like [email, phone]", "name the columns in brackets"),
]


@with_config(ONLY_THESE)
class LogFields(TypedDict, total=False):
    """What of the requests to the model servers is recorded. `{}`: everything, for 30 days. Left out: nothing."""

    enabled: Annotated[Switch, Field(description="false: nothing is recorded. Default: true.")]
    sample: Annotated[Share, Field(description="Share of the requests that are recorded. Default: 1.")]
    keep: Annotated[Days, Field(description="How long, like 30d, the default.")]
    max_mb: Annotated[Megabytes, Field(description="How many megabytes per model; the oldest go. Default: 2048.")]
    caller: Annotated[Header, Field(description="The header that names the caller. Default: User-Agent.")]
    drop: Annotated[Columns, Field(description="Columns that are never recorded.")]
    hash: Annotated[Columns, Field(description="Columns of which only a keyed hash is recorded.")]
