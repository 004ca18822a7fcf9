"""What is shown to people: never a secret, never a character that acts."""

import unicodedata
from dataclasses import replace
from urllib.parse import quote

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from receiver.core.policy import Hold, HoldState
from receiver.core.redact import Redactor, plain, plain_lines
from receiver.core.state import Slot
from receiver.pull_requests.promotion_body import VersionComparison, VersionFacts
from tests.support.examples import examples

anything = st.text(st.characters(codec=None), max_size=80)
# Tokens as people have them: no spaces, and not made of our mask.
secrets = st.text(st.characters(min_codepoint=33, max_codepoint=126, exclude_characters="*"), min_size=6, max_size=40)


@settings(max_examples=examples(200))
@given(anything)
def test_plain_text_is_one_printable_line_and_stays_as_it_is(text: str) -> None:
    shown = plain(text)
    assert not any(unicodedata.category(c) in {"Cc", "Cs", "Zl", "Zp"} for c in shown)
    assert plain(shown) == shown
    shown.encode()


@settings(max_examples=examples(200))
@given(st.lists(secrets, min_size=1, max_size=3), anything, anything)
def test_a_configured_secret_never_gets_through(known: list[str], before: str, after: str) -> None:
    redact = Redactor(known)
    for secret in known:
        assert secret not in redact(f"{before}{secret}{after}")
        assert plain(secret) not in redact.line(f"{before}{secret}{after}")
        assert secret not in redact(quote(f"{before.encode(errors='replace')!r}{secret}", safe=""))


def test_a_secret_broken_up_by_control_characters_is_found_where_it_would_be_shown() -> None:
    assert Redactor(["hunter2hunter2"]).line("x hunter2\x1b[0m\x00hunter2 y") == "x *** y"


def test_a_secret_that_begins_like_another_is_masked_to_its_end() -> None:
    known = ["hunter2hunter2", "hunter2hunter2-and-more"]
    for order in (known, known[::-1]):
        assert Redactor(order)("x hunter2hunter2-and-more y hunter2hunter2 z") == "x *** y *** z"


@pytest.mark.parametrize(
    "name", ["access_token", "api_key", "key", "password", "secret", "sig", "signature", "token", "Token"]
)
def test_a_parameter_of_a_url_that_is_named_like_a_credential_is_masked(name: str) -> None:
    assert Redactor()(f"https://host/r?a=1&{name}=abc#top") == f"https://host/r?a=1&{name}=***#top"


def test_a_secret_is_masked_also_as_an_address_and_as_a_line_show_it() -> None:
    secret = "p@ss/word\u200b+1"
    assert Redactor([secret])(f"?{quote(secret, safe='')}") == "?***"
    assert Redactor([secret])("x p@ss/word+1 y") == "x *** y"


@pytest.mark.parametrize("kind", ["ghp", "gho", "ghu", "ghs", "ghr"])
def test_a_token_of_github_is_masked_wherever_it_stands(kind: str) -> None:
    assert Redactor()(f"({kind}_{'a1B2' * 9})") == "(***)"


@pytest.mark.parametrize("scheme", ["Basic", "Bearer", "token"])
def test_an_authorization_is_masked_whatever_its_scheme(scheme: str) -> None:
    assert Redactor()(f"Authorization: {scheme} dXNlcjpwYXNzd29yZA==") == f"Authorization: {scheme} ***"


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("fatal: https://user:tok@host/r.git not found", "fatal: https://***@host/r.git not found"),
        ("https://tok@host/a and ssh://git@host/b", "https://***@host/a and ssh://***@host/b"),
        ("https://user:p@ss@host/r", "https://***@host/r"),
        ("https://host/r?token=abc&x=1", "https://host/r?token=***&x=1"),
        ("token ghp_" + "a1B2" * 9, "token ***"),
        ("ghs_" + "a" * 36 + " github_pat_" + "b" * 60, "*** ***"),
        ("Authorization: Bearer " + "abcdef" * 5, "Authorization: Bearer ***"),
        ("https://host:8080/path@v2", "https://host:8080/path@v2"),
        ("mail@example.invalid", "mail@example.invalid"),
    ],
)
def test_credentials_are_masked_by_shape_and_the_rest_stays_readable(text: str, shown: str) -> None:
    assert Redactor()(text) == shown


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("\x1b[31mred\x1b[0m", "red"),
        ("\x1b]8;;http://evil\x07link\x1b]8;;\x07", "link"),
        ("\x1b]0;title\x1b\\x", "x"),
        ("\x9b31mred", "red"),
        ("a\u202eb\u2066c\u200bd\u061ce", "abcde"),
        ("::set-output name=x::y", ": :set-output name=x::y"),
        ("say ##[command]x", "say # #[command]x"),
        ("a\r\nb\tc\rd", "a b c d"),
    ],
)
def test_what_acts_on_a_terminal_or_a_runner_is_taken_out(text: str, shown: str) -> None:
    assert plain(text) == shown


def test_lines_stay_lines_where_they_are_wanted_and_command_none_of_them() -> None:
    assert plain_lines("a\n  ::error::b\r\nc\x1b[2J") == "a\n  : :error::b\nc"


def test_a_secret_is_found_at_any_depth_of_a_value_and_the_rest_stays_as_it_is() -> None:
    case = VersionComparison(
        Slot("staging", "m"),
        VersionFacts(1, {"hunter2hunter2": 0.5}, {"run": "by hunter2hunter2"}),
        VersionFacts(2, unknown="https://me:pw@host/x"),
        notes=["hunter2hunter2\nsays", "nothing"],
    )
    hold = Hold(HoldState.WAITING, "hunter2hunter2", 3.0)
    shown, held = Redactor(["hunter2hunter2"]).within((case, hold))
    assert shown == replace(
        case,
        old=VersionFacts(1, {"***": 0.5}, {"run": "by ***"}),
        new=VersionFacts(2, unknown="https://***@host/x"),
        notes=["***\nsays", "nothing"],
    )
    assert held == Hold(HoldState.WAITING, "***", 3.0)
    assert held.state is HoldState.WAITING


def test_long_hostile_text_takes_no_time_to_speak_of() -> None:
    for text in ("a" * 200_000, "://" * 70_000, "\x1b]" * 100_000, "\n" * 200_000, "?key=" * 40_000, "gh" * 100_000):
        Redactor(["secret-secret"]).line(text)
