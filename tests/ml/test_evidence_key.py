"""Keys that sign evidence: made once, private, and as openssl writes them."""

import json
import math
import stat
import subprocess
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import pytest

from ml.errors import MlError
from ml.evidence import CheckOutcome, Evidence, Verdict
from ml.evidence_key import EvidenceKey, key_of, new_key, own_key, signer
from tests.support.evidence import EVIDENCE, KEY

HUGE = 10**400
FIELDS = ("version", "rows", "registered", "measured_at", "champion")


def test_a_signature_survives_the_registry(tmp_path: Path) -> None:
    unknown = Verdict("f1", CheckOutcome.FAIL, float("nan"), "is no number, so not >=", 0, "x" * 3000 + "\n")
    signed = KEY.sign(replace(EVIDENCE, verdicts=(*EVIDENCE.verdicts, unknown)))
    assert signer(Evidence.from_json(signed.to_json())) == KEY.public
    assert signer(EVIDENCE) is None


def test_a_signature_of_before_the_champion_was_recorded_holds_and_one_vouches_for_the_champion() -> None:
    signed = KEY.sign(EVIDENCE)
    older = json.loads(signed.to_json())
    del older["champion"], older["report"]
    assert signer(Evidence.from_json(json.dumps(older))) == KEY.public
    assert signer(replace(signed, champion=5)) is None
    assert signer(replace(KEY.sign(replace(EVIDENCE, champion=5)), champion=0)) is None
    assert signer(replace(signed, report="sha256:4")) is None


def test_a_key_is_made_once_for_its_owner_only(tmp_path: Path) -> None:
    state = tmp_path / "state"
    with ThreadPoolExecutor(8) as pool:
        found = {key.public for key in pool.map(own_key, [state] * 8)}
    assert len(found) == 1
    assert [path.name for path in state.iterdir()] == ["evidence.key"]
    assert stat.S_IMODE((state / "evidence.key").stat().st_mode) == 0o600
    assert stat.S_IMODE(state.stat().st_mode) == 0o700


def test_a_key_shows_no_private_part() -> None:
    assert "PRIVATE" not in repr(KEY)


@pytest.fixture
def openssl(tmp_path: Path) -> Path:
    file = tmp_path / "ci.key"
    command = ["openssl", "genpkey", "-algorithm", "ed25519", "-out", str(file)]
    subprocess.run(command, check=True, capture_output=True)
    return file


def test_the_key_comes_from_the_environment_a_file_or_the_state_directory(tmp_path: Path, openssl: Path) -> None:
    ci = EvidenceKey(openssl.read_text()).public
    assert key_of({"PINRAIL_EVIDENCE_KEY": openssl.read_text()}).public == ci
    assert key_of({"PINRAIL_EVIDENCE_KEY_FILE": str(openssl)}).public == ci
    state = {"PINRAIL_STATE_DIR": str(tmp_path / "state")}
    assert key_of(state).public == own_key(tmp_path / "state").public != ci


@pytest.mark.parametrize("text", ["", "hunter2", "-----BEGIN PRIVATE KEY-----\nMC4C\n-----END PRIVATE KEY-----\n"])
def test_what_is_no_key_is_refused_with_what_makes_one_and_not_shown(text: str, tmp_path: Path) -> None:
    file = tmp_path / "key"
    file.write_text(text)
    with pytest.raises(MlError, match=r"key: found no ed25519 key in PEM: `openssl genpkey"):
        key_of({"PINRAIL_EVIDENCE_KEY_FILE": str(file)})
    with pytest.raises(MlError) as caught:
        key_of({"PINRAIL_EVIDENCE_KEY": text or "x"})
    assert "hunter2" not in str(caught.value)


@pytest.mark.parametrize("field", FIELDS)
@pytest.mark.parametrize(
    "value", [HUGE, -1, 1e308, math.nan, math.inf], ids=["huge", "negative", "float", "nan", "inf"]
)
def test_a_number_out_of_range_is_no_evidence(field: str, value: float) -> None:
    with pytest.raises(ValueError, match="no evidence record"):
        Evidence.from_json(json.dumps({**json.loads(EVIDENCE.to_json()), field: value}))


@pytest.mark.parametrize("field", ["value", "threshold"])
@pytest.mark.parametrize("value", [HUGE, -HUGE, float("inf")], ids=["huge", "-huge", "inf"])
def test_a_verdict_out_of_range_is_no_evidence(field: str, value: float) -> None:
    raw = json.loads(EVIDENCE.to_json())
    raw["verdicts"][0][field] = value
    with pytest.raises(ValueError, match="no evidence record"):
        Evidence.from_json(json.dumps(raw))


def test_two_new_keys_differ() -> None:
    assert new_key().public != new_key().public
