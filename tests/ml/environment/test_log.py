"""The log section of an environment file."""

import pytest

from ml.environment.file import EnvironmentInvalid, LogPolicy, parse_environment
from serving.inference_log.settings import LogSettings


def parsed(environment: str = "", pin: str = "") -> LogPolicy | None:
    raw = (
        f"environment: a\nregistry: {{alias: a}}\ngate: {{}}\n{environment}\n"
        f"models: {{m: {{version: 1, port: 8000{pin}}}}}\n"
    )
    return parse_environment(raw.encode(), "a.yaml").log_for("m")


FULL = "log: {sample: 0.5, keep: 7d, max_mb: 100, caller: X-Caller, drop: [email], hash: [phone]}"


def test_nothing_is_recorded_unless_the_file_says_so() -> None:
    assert parsed() is None
    assert parsed("log: {}") == LogPolicy(LogSettings(), keep_days=30, max_mb=2048)
    assert parsed("log: {enabled: false}") is None


def test_every_field_is_read() -> None:
    settings = LogSettings(sample=0.5, caller="X-Caller", drop=("email",), hash=("phone",))
    assert parsed(FULL) == LogPolicy(settings, keep_days=7, max_mb=100)


def test_a_log_beside_a_pin_is_in_place_of_the_environments() -> None:
    assert parsed(FULL, ", log: {sample: 0.1}") == LogPolicy(LogSettings(sample=0.1))
    assert parsed(FULL, ", log: {enabled: false}") is None
    assert parsed("", ", log: {}") == LogPolicy()


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        ("log: {sample: 10}", "log.sample: found '10', allowed a number from 0 to 1"),
        ("log: {keep: 30}", "log.keep: found '30', allowed days like 30d"),
        ("log: {keep: 0d}", "log.keep: found '0d'"),
        ("log: {max_mb: 0}", "log.max_mb: found '0', allowed a whole number from 1"),
        (
            "log: {caller: Authorization}",
            "log.caller: found 'Authorization', allowed the name of a header, but of none",
        ),
        ("log: {caller: 'X Caller'}", "log.caller: found"),
        ("log: {drop: email}", "log.drop: found 'email', allowed a list of columns"),
        ("log: {hash: [1]}", "log.hash"),
        ("log: {hashes: [a]}", "log.hashes: found the unknown field .*: did you mean hash?"),
        ("log: yes", "log: found 'yes', allowed a mapping of enabled, sample, keep"),
    ],
)
def test_a_mistake_is_named_with_what_is_allowed(wrong: str, said: str) -> None:
    with pytest.raises(EnvironmentInvalid, match=said.replace("?", r"\?")):
        parsed(wrong)
