"""GitHub's signature and payloads, without a server."""

import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from receiver.core.delivery import DeliveryKind
from receiver.intake.github import Watched, identify, parse, verify
from tests.support.examples import examples
from tests.support.intake import SECRET, push, sign

WATCHED = Watched("owner/models", "main")
PUBLISHED_SECRET = b"It's a Secret to Everybody"
PUBLISHED_BODY = b"Hello, World!"
PUBLISHED = b"sha256=757107ea0eb2509fc211221cce984b8a37570b6d7586c22c46f4379c8b043e17"


def signed(value: bytes) -> list[tuple[bytes, bytes]]:
    return [(b"x-hub-signature-256", value)]


def test_the_published_vector_is_accepted() -> None:
    assert verify([PUBLISHED_SECRET], signed(PUBLISHED), PUBLISHED_BODY)


def test_while_a_secret_is_rotated_the_old_and_the_new_one_are_accepted() -> None:
    assert verify([b"new", PUBLISHED_SECRET], signed(PUBLISHED), PUBLISHED_BODY)
    assert verify([PUBLISHED_SECRET, b"new"], signed(PUBLISHED), PUBLISHED_BODY)
    assert not verify([b"new", b"newer"], signed(PUBLISHED), PUBLISHED_BODY)


@pytest.mark.parametrize("secrets", [[], [b""], [b"good", b""]])
def test_without_a_secret_nothing_is_verified(secrets: list[bytes]) -> None:
    with pytest.raises(ValueError, match="secret is required"):
        verify(secrets, signed(PUBLISHED), PUBLISHED_BODY)


@pytest.mark.parametrize(
    "value",
    [
        b"",
        PUBLISHED[7:],
        PUBLISHED + b" ",
        b" " + PUBLISHED,
        PUBLISHED + b"\n",
        PUBLISHED + b"," + PUBLISHED,
        PUBLISHED.upper(),
        PUBLISHED.replace(b"sha256", b"sha1"),
        PUBLISHED[:-1],
        b"sha256=\xe9",
        b"sha256=" + "\N{FULLWIDTH DIGIT ONE}".encode() * 64,
    ],
)
def test_a_signature_in_any_other_form_is_refused(value: bytes) -> None:
    assert not verify([PUBLISHED_SECRET], signed(value), PUBLISHED_BODY)


def test_a_signature_sent_twice_is_refused() -> None:
    assert not verify([PUBLISHED_SECRET], signed(PUBLISHED) * 2, PUBLISHED_BODY)


@settings(max_examples=examples(60))
@given(body=st.binary(max_size=200), place=st.integers(min_value=0), change=st.integers(1, 255))
def test_a_body_changed_anywhere_is_refused(body: bytes, place: int, change: int) -> None:
    headers = signed(sign(body).encode())
    assert verify([SECRET], headers, body)
    changed = bytearray(body or b"\x00")
    changed[place % len(changed)] ^= change
    assert not verify([SECRET], headers, bytes(changed))


def test_a_push_to_the_watched_branch_is_accepted_whatever_the_case_of_the_repository() -> None:
    assert parse("push", push(), WATCHED).kind is DeliveryKind.ACCEPTED
    assert parse("push", push(repository={"full_name": "Owner/Models"}), WATCHED).kind is DeliveryKind.ACCEPTED


def test_where_the_url_does_not_name_a_repository_any_push_to_the_branch_is_a_hint() -> None:
    assert parse("push", push(), Watched(None, "main")).kind is DeliveryKind.ACCEPTED


@pytest.mark.parametrize(
    ("changes", "why"),
    [
        ({"repository": {"full_name": "owner/models-fork"}}, "not the watched repository"),
        ({"ref": "refs/tags/main"}, "not the watched branch"),
        ({"ref": "refs/heads/mainline"}, "not the watched branch"),
        ({"ref": "refs/heads/--upload-pack=touch /tmp/x"}, "not the watched branch"),
        ({"ref": "refs/heads/$(id);`id`"}, "not the watched branch"),
        ({"deleted": True}, "deleted"),
    ],
)
def test_a_push_elsewhere_is_ignored_with_a_reason(changes: dict[str, object], why: str) -> None:
    verdict = parse("push", push(**changes), WATCHED)
    assert (verdict.kind, why in verdict.note) == (DeliveryKind.IGNORED, True)


@pytest.mark.parametrize(
    "body",
    [
        b"[" * 100_000,
        b'{"a":' * 100_000,
        b'{"ref": ' + b"1" * 5_000 + b"}",
        b"[]",
        b"null",
        b"7",
        b'"text"',
        b"",
        b"{}",
        b"{",
        b"\xff\xfe{\x00}\x00",
        b"\xef\xbb\xbf{}",
        b'{"ref": NaN}',
        b'{"ref": "refs/heads/main", "ref": "refs/heads/main"}',
        push(repository=None),
        push(repository={}),
        push(repository={"full_name": None}),
        push(repository=[]),
        push(ref=5),
        push(ref=None),
        push(commits=None),
        push(commits={}),
        push(deleted="no"),
        push(deleted=None),
    ],
)
def test_a_signed_push_that_github_would_not_send_is_malformed(body: bytes) -> None:
    assert parse("push", body, WATCHED).kind is DeliveryKind.MALFORMED


def test_duplicate_keys_are_malformed_at_any_depth_and_named() -> None:
    verdict = parse("push", push().replace(b'"full_name"', b'"full_name": "a/b", "full_name"'), WATCHED)
    assert verdict.kind is DeliveryKind.MALFORMED
    assert "'full_name' appears twice" in verdict.note


def test_half_a_character_in_a_field_makes_no_note_that_cannot_be_stored() -> None:
    assert parse("push", push(after="\ud800", pusher={"name": "\ud800"}), WATCHED).kind is DeliveryKind.ACCEPTED
    verdict = parse("push", push(ref="refs/heads/\ud800\x1b[31m<b>"), WATCHED)
    assert verdict.kind is DeliveryKind.IGNORED
    assert verdict.note.encode().startswith(b"push to refs/heads/<b>,")
    verdict.note.encode()


@pytest.mark.parametrize("event", ["ping", "star", "issues", "status"])
def test_other_events_ask_for_nothing(event: str) -> None:
    assert parse(event, b"{}", WATCHED).kind is DeliveryKind.IGNORED


@settings(max_examples=examples(150))
@given(
    st.recursive(
        st.none() | st.booleans() | st.integers() | st.text(max_size=8),
        lambda inner: (
            st.lists(inner, max_size=3)
            | st.dictionaries(
                st.sampled_from(["ref", "repository", "full_name", "deleted", "commits", "after"]), inner, max_size=6
            )
        ),
        max_leaves=12,
    )
)
def test_no_payload_at_all_raises_or_makes_an_unprintable_note(payload: object) -> None:
    verdict = parse("push", json.dumps(payload).encode(), WATCHED)
    assert verdict.note.encode().decode().isprintable()


def test_delivery_and_event_are_needed_once_each_in_github_s_form() -> None:
    good = [(b"x-github-delivery", b"72d3162e-cc78-11e3"), (b"x-github-event", b"push")]
    assert identify(good) == ("72d3162e-cc78-11e3", "push")
    assert identify(good[:1]) is None
    assert identify([*good, good[0]]) is None
    assert identify([(b"x-github-delivery", b"a b"), good[1]]) is None
    assert identify([good[0], (b"x-github-event", b"Push\xe9")]) is None


def test_a_delivery_of_another_repository_says_which_setting_would_follow_it() -> None:
    verdict = parse("push", push(repository={"full_name": "new-owner/models"}), WATCHED)
    assert verdict.kind is DeliveryKind.IGNORED
    assert verdict.warning.startswith(
        "GitHub delivers for new-owner/models, and PINRAIL_REPO_URL names owner/models: "
    )
    assert "set PINRAIL_REPO_URL to the address of new-owner/models" in verdict.warning
