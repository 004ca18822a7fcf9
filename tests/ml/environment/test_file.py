import json
import re
import subprocess
import sys
import time
from pathlib import Path

import jsonschema
import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from ml.environment import strict_yaml
from ml.environment.file import Environment, EnvironmentInvalid, Override, Pin, Resources, main, parse_environment
from ml.environment.gate_schema import AtLeast, AtMost
from ml.environment.schema import json_schema, schema_text
from ml.evidence import gate_digest
from tests.support.environment_files import Written, environment_files
from tests.support.examples import examples

ROOT = Path(__file__).resolve().parents[3]
FILE = "environments/production.yaml"
GOOD = """\
environment: production
registry: {stage: Production, alias: production}
policy: {after: staging, soak: 1h30m}
gate:
  accuracy: {min: 0.80}
  latency_p95_ms: {max: 50}
models:
  churn-model:
    version: 6
    port: 8001
    override: {version: 6, reason: "the old one is down"}
"""


def with_version(written: str) -> str:
    return GOOD.replace("version: 6\n", f"version: {written}\n")


def refused(text: str | bytes) -> list[str]:
    """What is said about a bad file, one problem per line."""
    with pytest.raises(EnvironmentInvalid) as caught:
        parse_environment(text if isinstance(text, bytes) else text.encode(), FILE)
    lines = str(caught.value).splitlines()
    assert len(lines) == len(caught.value.problems)
    for line in lines:
        assert re.fullmatch(r"environments/production\.yaml:\d+: .+: found .+, allowed .+: .+", line, re.ASCII), line
    return lines


def test_a_file_is_read_into_plain_values() -> None:
    assert parse_environment(GOOD.encode(), FILE) == Environment(
        name="production",
        stage="Production",
        alias="production",
        after="staging",
        soak_seconds=5400.0,
        gate={"accuracy": AtLeast(0.8), "latency_p95_ms": AtMost(50)},
        models={"churn-model": Pin("churn-model", 6, 8001, Override(6, "the old one is down"))},
    )


def test_stage_policy_and_override_may_be_left_out_and_models_and_gate_may_be_empty() -> None:
    environment = parse_environment(b"environment: a\nregistry: {alias: b}\ngate: {}\nmodels: {}\n", "a.yaml")
    assert (environment.stage, environment.after, environment.soak_seconds) == (None, None, 0.0)
    assert (dict(environment.gate), dict(environment.models)) == ({}, {})


@pytest.mark.parametrize(
    ("written", "seconds"), [("30m", 1800), ("1h30m", 5400), ("45s", 45), ("0s", 0), ("2h", 7200), ("1h1s", 3601)]
)
def test_durations_are_hours_minutes_and_seconds(written: str, seconds: float) -> None:
    assert parse_environment(GOOD.replace("1h30m", written).encode(), FILE).soak_seconds == seconds


@pytest.mark.parametrize("written", ["30", "m", "''", "1d", "30m1h", "1.5h", "-1m", "1h 30m", "PT30M", "'30m\n'"])
def test_other_durations_are_refused(written: str) -> None:
    assert ":3: policy.soak: found" in refused(GOOD.replace("1h30m", written))[0]


def test_the_largest_version_is_taken() -> None:
    pin = parse_environment(with_version(str(2**63 - 1)).encode(), FILE).models["churn-model"]
    assert pin.version == 2**63 - 1


@pytest.mark.parametrize(
    "written",
    [
        *("010", "1_000", "12:30", "yes", "1.0", "-1", "0", str(2**63), "+6", "0x6", "0o6", "1e3", "6.", "true", "~"),
        *('"6"', "'6'", "six", "[6]", "{a: 6}", "2024-13-45", "6 7", ".inf", ".nan", "9" * 5000, "٦", "６"),  # noqa: RUF001
    ],
)
def test_a_version_that_is_no_plain_whole_number_is_refused_with_line_and_what_is_allowed(written: str) -> None:
    (said,) = refused(with_version(written))
    assert said.startswith("environments/production.yaml:9: models.churn-model.version: found ")
    assert "allowed a whole number from 1 to 9223372036854775807" in said
    assert len(said) < 300


def test_a_refused_value_is_shown_as_it_was_written() -> None:
    assert "found '1_000', allowed" in refused(with_version("1_000"))[0]
    assert "found '\"6\"', allowed" in refused(with_version('"6"'))[0]


@pytest.mark.parametrize("port", ["0", "65536", "-1", "80.0", '"8001"', "yes", "8_001"])
def test_a_port_outside_1_to_65535_is_refused(port: str) -> None:
    assert ":10: models.churn-model.port: found" in refused(GOOD.replace("port: 8001", f"port: {port}"))[0]


def test_a_duplicate_key_is_refused_with_both_lines() -> None:
    (said,) = refused(GOOD.replace("    port: 8001\n", "    port: 8001\n    port: 8002\n"))
    assert ":11: models.churn-model.port: found a second 'port' (the first is on line 10)" in said


@pytest.mark.parametrize(
    ("old", "new", "meant"),
    [
        ("    version:", "    verison:", "did you mean version?"),
        ("models:", "modles:", "did you mean models?"),
        ("accuracy:", "acuracy:", "did you mean accuracy?"),
        ("min:", "minimum:", "did you mean min?"),
        ("soak:", "soka:", "did you mean soak?"),
        ("latency_p95_ms: {max:", "latency_p95_ms: {min:", "known are max"),
        ("reason:", "why:", "known are version, reason"),
    ],
)
def test_an_unknown_key_is_refused_with_what_was_meant(old: str, new: str, meant: str) -> None:
    assert any(line.endswith(meant) for line in refused(GOOD.replace(old, new)))


def test_an_anchor_and_an_alias_are_refused() -> None:
    said = refused(GOOD.replace("{min: 0.80}", "&a {min: 0.80}").replace("{max: 50}", "*a"))
    assert [line.partition("found ")[2].partition(",")[0] for line in said] == ["the anchor &a", "the alias *a"]


def test_a_merge_key_is_refused() -> None:
    assert "found a merge key" in refused(GOOD.replace("    port: 8001", "    port: 8001\n    <<: {port: 1}"))[0]


@pytest.mark.parametrize("end", ["\r", "\x85", "\u2028", "\u2029"])
def test_what_a_diff_shows_inside_a_comment_never_acts(end: str) -> None:
    (said,) = refused(GOOD.replace("    override:", f"    # as before{end}    override:"))
    assert said.startswith(f"{FILE}:11: file: found the character U+{ord(end):04X}, allowed text that displays as it")


@pytest.mark.parametrize("turn", ["\u202e", "\u2066"])
def test_what_a_diff_shows_in_another_order_is_refused(turn: str) -> None:
    assert f"U+{ord(turn):04X}" in refused(GOOD.replace("version: 6\n", f"version: 6 # {turn} 7 :noisrev\n"))[0]


def test_a_small_file_that_would_expand_without_end_is_refused_at_once() -> None:
    layers = "".join(f"x{n}: &x{n} [{', '.join([f'*x{n - 1}'] * 9)}]\n" for n in range(1, 10))
    assert any("anchor" in line for line in refused(f"x0: &x0 [a]\n{layers}"))


@pytest.mark.parametrize("tag", ["!!python/object/apply:os.system", "!!int", "!x", "!"])
def test_a_tag_is_refused_and_nothing_is_constructed(tag: str) -> None:
    assert "found the tag" in refused(with_version(f"{tag} 6"))[0]


@pytest.mark.parametrize(
    ("raw", "found"),
    [
        (b"", "an empty file"),
        (b"# only a comment\n", "an empty file"),
        (b"production\n", "a single value"),
        (b"- production\n", "a list"),
        (GOOD.encode() + b"---\na: b\n", "a second document"),
        (GOOD.encode("utf-16"), "UTF-16"),
        (GOOD.encode("utf-16-le"), "UTF-16"),
        (b"\xef\xbb\xbf" + GOOD.encode(), "a byte order mark"),
        (GOOD.encode() + b"# \xff\n", "the byte 0xff"),
        (GOOD.encode() + b"#" * 64 * 1024, "bytes, allowed at most 65536"),
        (b"[" * 3000, "a list"),
        (b"a: " + b"[" * 3000, "very deep nesting"),
        (b"a: " + b"{b: " * 3000, "very deep nesting"),
        (b"a: [1\nb: 2\n", "broken YAML"),
        (b"a: \x07\n", "broken YAML"),
        (b"a: 'x\n", "broken YAML"),
        (b"a: @x\n", "broken YAML"),
        (b"\tx: 1\n", "broken YAML"),
        (b'a: "\\U99999999"\n', "broken YAML"),
        (b"%YAML 1.1\n---\n" + GOOD.encode(), "a % directive"),
        (b"%YAML " + b"9" * 5000 + b".1\n---\na: 1\n", "found"),
        (b"[a]: 1\n", "a key that is not a word"),
        (b"? {a: b}\n: 1\n", "a key that is not a word"),
    ],
)
def test_what_is_no_single_plain_mapping_is_refused_clearly(raw: bytes, found: str) -> None:
    assert found in refused(raw)[0]


@pytest.mark.parametrize(
    "wrong",
    [
        "".join(f"  m{n}: {{versoin: 1}}\n" for n in range(3000)),
        "".join("  a: 1\n" for _ in range(9000)),
        "".join(f"  a: 1\n  b{n}: 1\n" for n in range(3500)),
        "  x: [" + "*a, " * 16_000 + "*a]\n",
    ],
)
def test_a_file_in_which_all_is_wrong_costs_little_and_says_so_in_fifty_lines(wrong: str) -> None:
    began = time.process_time()
    lines = refused(GOOD.partition("models:")[0] + "models:\n" + wrong)
    assert len(lines) == 50
    assert "more is wrong after this" in lines[-1]
    assert time.process_time() - began < 2.0


def test_dates_that_are_none_and_other_guesses_of_yaml_stay_text() -> None:
    reason = GOOD.replace('"the old one is down"', "2024-13-45")
    pin = parse_environment(reason.encode(), FILE).models["churn-model"]
    assert pin.override == Override(6, "2024-13-45")


@pytest.mark.parametrize(
    "name", ["-x", "_x", ".x", "a b", "$(id)", "a/b", "a:b", '"a\\n"', "é", "x" * 65, '""', "'*'", '"a\\u202e"']
)
def test_a_name_that_could_surprise_somebody_is_refused(name: str) -> None:
    written = name if name.startswith(('"', "'")) else f"'{name}'"
    assert any(": found the name " in line for line in refused(GOOD.replace("churn-model:", f"{written}:")))
    assert any("environment: found " in line for line in refused(GOOD.replace("production\n", f"{written}\n", 1)))
    assert any("policy.after: found " in line for line in refused(GOOD.replace("staging", written)))


@pytest.mark.parametrize("alias", ["latest", "Latest", "v1", "V22", "a.b", "-a", "''", "123"])
def test_an_alias_that_mlflow_keeps_for_itself_or_refuses_is_refused(alias: str) -> None:
    assert ":2: registry.alias: found" in refused(GOOD.replace("alias: production", f"alias: {alias}"))[0]


@pytest.mark.parametrize(
    "reason", ["''", '"\\e[31mred"', '"a\\nb"', '"\\u202eoops"', "5", "x" * 501, "|\n        a\n"]
)
def test_a_reason_that_does_not_read_as_one_line_is_refused(reason: str) -> None:
    text = GOOD.replace(
        'override: {version: 6, reason: "the old one is down"}',
        f"override:\n      version: 6\n      reason: {reason}",
    )
    assert any("override.reason: found" in line for line in refused(text))


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("{min: 0.80}", "{min: 80}"),
        ("{min: 0.80}", "{min: '0.8'}"),
        ("{min: 0.80}", "{min: .nan}"),
        ("{min: 0.80}", "{min: 1e999}"),
        ("{min: 0.80}", "{min: true}"),
        ("{min: 0.80}", "{}"),
        ("{min: 0.80}", "0.8"),
        ("{max: 50}", "{max: 0}"),
        ("{max: 50}", "{max: 50ms}"),
        ("{stage: Production,", "{stage: production,"),
        ("{stage: Production,", "{stage: Archived,"),
    ],
)
def test_a_threshold_or_stage_that_means_nothing_is_refused(old: str, new: str) -> None:
    assert refused(GOOD.replace(old, new))


def test_soak_without_an_environment_to_soak_in_is_refused() -> None:
    assert "policy.soak: found soak without after" in refused(GOOD.replace("after: staging, ", ""))[0]


@pytest.mark.parametrize("field", ["environment", "registry", "gate", "models"])
def test_a_missing_field_is_named(field: str) -> None:
    mapping = yaml.safe_load(GOOD)
    del mapping[field]
    assert any(
        f": {field}: found nothing" in line and f"add `{field}:`" in line for line in refused(yaml.dump(mapping))
    )


@pytest.mark.parametrize("field", ["registry", "policy", "gate", "models"])
def test_a_field_with_nothing_in_it_is_refused_because_it_is_more_often_an_accident(field: str) -> None:
    assert any(
        f": {field}: found nothing" in line
        for line in refused(re.sub(rf"(?ms)^{field}:.*?(?=^\w|\Z)", f"{field}:\n", GOOD))
    )


def test_all_errors_of_a_file_are_said_at_once_in_order() -> None:
    text = GOOD.replace("Production,", "Prod,").replace("0.80", "80").replace("version: 6\n", "version: 010\n")
    said = refused(text.replace("    port: 8001\n", "    port: 8001\n    port: 8002\n    oprt: 1\n"))
    assert [int(line.split(":")[1]) for line in said] == [2, 5, 9, 11, 12]


def test_a_message_is_harmless_in_a_terminal_whatever_the_file_holds() -> None:
    for line in refused(GOOD.replace("churn-model", '"\\e[31m\\u202e::error::"') + '"\\e]0;x": "\\e[2J"\n'):
        assert line.isprintable()


def test_pyyaml_with_and_without_libyaml_read_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    texts = [GOOD, with_version("010"), GOOD + "# ü😀\nx: &a [1, *a]\n", "a: [1\n", GOOD.replace("\n", "\r\n")]
    fast = [strict_yaml.read_yaml(text.encode()) for text in texts]
    monkeypatch.setattr(strict_yaml, "Events", yaml.SafeLoader)
    slow = [strict_yaml.read_yaml(text.encode()) for text in texts]
    assert [document.value for document in fast] == [document.value for document in slow]
    assert [document.spans for document in fast[:3]] == [document.spans for document in slow[:3]]
    assert [len(document.problems) for document in fast] == [len(document.problems) for document in slow]


@settings(max_examples=examples(60), deadline=None)
@given(st.binary(max_size=200) | st.text(alphabet="ab:&*!?-[]{}#'\"|> \n\t%<", max_size=120).map(str.encode))
def test_any_bytes_are_read_or_refused_and_nothing_else(raw: bytes) -> None:
    try:
        parse_environment(raw, FILE)
    except EnvironmentInvalid as error:
        assert error.problems  # noqa: PT017 - either outcome is right, this one says why


@settings(max_examples=examples(40), deadline=None)
@given(environment_files())
def test_files_as_people_write_them_are_read_with_their_pins(written: Written) -> None:
    environment = parse_environment(written.text.encode(), FILE)
    assert {model: pin.version for model, pin in environment.models.items()} == written.pins


def test_the_gates_digest_is_the_same_for_what_was_read_and_for_the_plain_mapping() -> None:
    environment = parse_environment(GOOD.encode(), FILE)
    assert gate_digest(environment.gate) == gate_digest({"latency_p95_ms": {"max": 50.0}, "accuracy": {"min": 0.8}})
    assert gate_digest(environment.gate) != gate_digest({"latency_p95_ms": {"max": 51}, "accuracy": {"min": 0.8}})


CHECKS = """\
  positive: Yes
  data: {digest: "sha256:0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef"}
  accuracy: {min: 0.8}
  roc_auc: {min: 0.8}
  f1: {min: 0.5}
  log_loss: {max: 0.6}
  calibration_error: {max: 0.1}
  mae: {max: 3}
  rmse: {max: 4}
  r2: {min: 0.5}
  schema: {max: 0}
  latency_p95_ms: {max: 50}
  memory_mb: {max: 512}
  fairness: {columns: [gender], demographic_parity: {max: 0.2}}
  robustness: {noise: {max: 0.05}, missing: {max: 0.1}}
  drift: {psi: {max: 0.2}}
  contract: {days: 30}
  replay: {rows: 1000, flips: {max: 0.02}, slices: [gender]}
  champion: {require: hold, slices: [gender]}
"""


def test_every_check_of_the_gate_can_be_read_and_is_known_to_the_schema() -> None:
    text = f"environment: a\nregistry: {{alias: a}}\ngate:\n{CHECKS}models: {{}}\n"
    known = json_schema()["$defs"]["Gate"]["properties"]
    assert list(parse_environment(text.encode(), "a.yaml").gate) == list(known)
    jsonschema.validate(yaml.safe_load(text), json_schema())


def test_the_schema_in_the_repository_is_the_one_of_the_code() -> None:
    assert (ROOT / "environments" / "schema.json").read_text(encoding="utf-8") == schema_text()


def test_the_files_in_the_repository_are_valid() -> None:
    files = sorted((ROOT / "environments").glob("*.yaml"))
    assert [file.stem for file in files] == ["production", "staging"]
    for file in files:
        environment = parse_environment(file.read_bytes(), file.name)
        jsonschema.validate(yaml.safe_load(file.read_bytes()), json_schema())
        assert environment.name == file.stem


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("", ""),
        ("version: 6\n", "version: '6'\n"),
        ("version: 6\n", "version: 1.5\n"),
        ("version: 6\n", "version: 0\n"),
        ("version: 6\n", f"version: {2**63}\n"),
        ("version: 6\n", f"version: {2**63 - 1}\n"),
        ("    version: 6\n", ""),
        ("port: 8001", "port: 65536"),
        ("port: 8001", "port: 8001\n    prot: 1"),
        ("churn-model", "'churn model'"),
        ("churn-model", "churn.model_2"),
        ("stage: Production", "stage: null"),
        ("stage: Production, ", ""),
        ("stage: Production", "stage: Archived"),
        ("alias: production", "alias: latest"),
        ("alias: production", "alias: v2"),
        ("alias: production", "alias: v2x"),
        ("alias: production", "alias: a.b"),
        ("soak: 1h30m", "soak: soon"),
        ("after: staging, ", ""),
        (", soak: 1h30m", ""),
        ("{min: 0.80}", "{min: 1}"),
        ("{min: 0.80}", "{min: 1.01}"),
        ("{min: 0.80}", "{max: 1}"),
        ("{max: 50}", "{max: 0}"),
        ('"the old one is down"', '""'),
        ('"the old one is down"', '"a\\nb"'),
        ("policy: {after: staging, soak: 1h30m}", "policy: null"),
        ("policy: {after: staging, soak: 1h30m}", "policy: {}"),
    ],
)
def test_editors_and_we_agree_on_what_is_valid(old: str, new: str) -> None:
    text = GOOD.replace(old, new) if old else GOOD
    ours = True
    try:
        parse_environment(text.encode(), FILE)
    except EnvironmentInvalid:
        ours = False
    theirs = jsonschema.Draft202012Validator(json_schema()).is_valid(yaml.safe_load(text))
    assert ours == theirs


def test_the_schema_is_a_valid_schema() -> None:
    jsonschema.Draft202012Validator.check_schema(json_schema())


def test_the_command_prints_the_schema_and_names_what_is_wrong(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["--schema"]) == 0
    assert json.loads(capsys.readouterr().out) == json_schema()
    good, bad = tmp_path / "good.yaml", tmp_path / "bad.yaml"
    good.write_text(GOOD)
    bad.write_text("environment: [\n")
    assert main([str(good)]) == 0
    assert main([str(good), str(bad), str(tmp_path / "none.yaml")]) == 1
    said = capsys.readouterr().err
    assert f"{bad}:2: file: found broken YAML" in said
    assert "none.yaml" in said


def test_the_module_can_be_run() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "ml.environment.file", "--help"], cwd=ROOT, check=False, capture_output=True
    )
    assert (done.returncode, done.stderr) == (0, b"")


@pytest.mark.parametrize(("text", "egress"), [("", False), (", egress: true", True), (", egress: false", False)])
def test_a_way_to_the_internet_is_asked_for_beside_the_pin(text: str, egress: bool) -> None:
    raw = f"environment: a\nregistry: {{alias: a}}\ngate: {{}}\nmodels: {{m: {{version: 1, port: 8000{text}}}}}\n"
    assert parse_environment(raw.encode(), "a.yaml").models["m"].egress is egress


def test_a_way_to_the_internet_is_true_or_false() -> None:
    raw = "environment: a\nregistry: {alias: a}\ngate: {}\nmodels: {m: {version: 1, port: 8000, egress: 1}}\n"
    with pytest.raises(EnvironmentInvalid, match="egress: found '1', allowed true or false"):
        parse_environment(raw.encode(), "a.yaml")


PIN = "environment: a\nregistry: {alias: a}\ngate: {}\nmodels: {m: {version: 1, port: 8000%s}}\n"


@pytest.mark.parametrize(
    ("text", "replicas", "resources"),
    [
        ("", 1, Resources()),
        (", replicas: 3", 3, Resources()),
        (", replicas: 16, resources: {cpus: 0.5, memory: 512m}", 16, Resources(0.5, 512)),
        (", resources: {memory: 2g}", 1, Resources(0.0, 2048)),
        (", resources: {cpus: 2}", 1, Resources(2.0, 0)),
        (", resources: {}", 1, Resources()),
    ],
)
def test_replicas_and_resources_stand_beside_the_pin(text: str, replicas: int, resources: Resources) -> None:
    pin = parse_environment((PIN % text).encode(), "a.yaml").models["m"]
    assert (pin.replicas, pin.resources) == (replicas, resources)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("replicas: 0", "found '0', allowed a whole number from 1 to 16"),
        ("replicas: 17", "found '17', allowed a whole number from 1 to 16"),
        ("replicas: true", "found 'true', allowed a whole number"),
        ("resources: {cpus: 0}", "found '0', allowed a number from 0.1 to 1024"),
        ("resources: {cpus: '1'}", "allowed a number from 0.1"),
        ("resources: {memory: 1gb}", "found '1gb', allowed megabytes from 100m or gigabytes like 1g"),
        ("resources: {memory: 50m}", "found '50m', allowed megabytes from 100m"),
        ("resources: {memory: 1024}", "found '1024', allowed megabytes"),
        ("resources: {cpu: 1}", "the unknown field cpu, allowed cpus, memory: did you mean cpus?"),
        ("resources: 1g", "allowed a mapping of cpus, memory"),
    ],
)
def test_what_is_no_number_of_replicas_and_no_limit_is_refused(text: str, said: str) -> None:
    with pytest.raises(EnvironmentInvalid) as caught:
        parse_environment((PIN % f", {text}").encode(), "a.yaml")
    assert said in str(caught.value)
