"""``policy.live``: what labels must say of a version that serves."""

import pytest

from ml.environment.file import EnvironmentInvalid, LivePolicy, parse_environment


def parsed(live: str, log: str = "log: {}") -> LivePolicy | None:
    raw = f"environment: a\nregistry: {{alias: a}}\n{live}\ngate: {{}}\n{log}\nmodels: {{}}\n"
    return parse_environment(raw.encode(), "a.yaml").live


def test_it_is_read_with_its_defaults() -> None:
    assert parsed("") is None
    assert parsed("policy: {live: {accuracy: {min: 0.75}}}") == LivePolicy(0.75, 100, reverts=False)
    full = "policy: {live: {accuracy: {min: 0.75, labels: 200}, on_fail: revert}}"
    assert parsed(full) == LivePolicy(0.75, 200, reverts=True)


@pytest.mark.parametrize(
    ("live", "log", "said"),
    [
        ("accuracy: {min: 75}", "log: {}", "policy.live.accuracy.min: found '75', allowed a number from 0 to 1"),
        ("accuracy: {labels: 9}", "log: {}", "policy.live.accuracy.min: found nothing"),
        ("accuracy: {min: 0.7, labels: 0}", "log: {}", "policy.live.accuracy.labels: found '0', allowed a whole"),
        ("accuracy: {min: 0.7}, on_fail: page", "log: {}", "on_fail: found 'page', allowed notify or revert"),
        ("acuracy: {min: 0.7}", "log: {}", "did you mean accuracy"),
        ("on_fail: revert", "log: {}", "policy.live.accuracy: found nothing"),
        ("accuracy: {min: 0.7}", "", "policy.live: found live without a log, allowed both: add `log: {}`"),
        ("accuracy: {min: 0.7}", "log: {enabled: false}", "found live without a log"),
    ],
)
def test_a_mistake_is_named_with_what_is_allowed(live: str, log: str, said: str) -> None:
    with pytest.raises(EnvironmentInvalid) as refused:
        parsed(f"policy: {{live: {{{live}}}}}", log)
    assert said in str(refused.value)
