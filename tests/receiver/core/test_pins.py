import pytest

from receiver.core.errors import Rejected
from receiver.core.pins import Desired, read_pins
from tests.support.git_repos import FILES, PRODUCTION, STAGING

GOOD = {path: text.encode() for path, text in FILES.items()}


def environment(name: str, after: str | None = None, models: str = "{}") -> bytes:
    policy = f"policy: {{after: {after}}}\n" if after else ""
    return f"environment: {name}\nregistry: {{alias: {name}}}\n{policy}gate: {{}}\nmodels: {models}\n".encode()


def files(*names_and_after: tuple[str, str | None]) -> dict[str, bytes]:
    return {f"environments/{name}.yaml": environment(name, after) for name, after in names_and_after}


def refused(content: dict[str, bytes], known: tuple[str, ...] = ()) -> list[str]:
    with pytest.raises(Rejected) as caught:
        read_pins(content, known)
    return str(caught.value).splitlines()


def order(desired: Desired) -> list[str]:
    return [environment.name for environment in desired.environments]


def test_environments_come_in_promotion_order() -> None:
    assert order(read_pins(GOOD)) == ["staging", "production"]
    chain = files(("a", "b"), ("b", "c"), ("c", None), ("d", None), ("e", "c"))
    assert order(read_pins(chain)) == ["c", "d", "b", "e", "a"]


def test_what_is_no_yaml_at_the_top_of_the_folder_is_ignored() -> None:
    others = ("environments/schema.json", "environments/a/b.yaml", "x.yaml", "x.yml", "environments/yml")
    assert read_pins({**GOOD, **dict.fromkeys(others, b"{[")}) == read_pins(GOOD)


@pytest.mark.parametrize(("name", "suffix"), [("canary.yml", ".yml"), ("qa.YAML", ".YAML"), (".Yml", ".Yml")])
def test_a_file_with_another_ending_of_yaml_is_named_and_not_ignored(name: str, suffix: str) -> None:
    (said,) = refused({**GOOD, f"environments/{name}": environment("canary")})
    renamed = name.removesuffix(suffix)
    assert said == (
        f"environments/{name}: found the ending {suffix}, allowed .yaml, for no other is read: "
        f"rename it to environments/{renamed}.yaml"
    )


def test_two_environments_whose_names_differ_in_case_are_refused() -> None:
    (said,) = refused(
        files(("qa", None), ("QA", None)) | {"environments/QA.yaml": environment("QA").replace(b"QA}", b"b}")}
    )
    assert said == (
        "environments/qa.yaml:1: environment: found qa, which environments/QA.yaml:1: environment has too, "
        "allowed one name each: change one of them"
    )


def test_a_pin_on_a_port_of_the_receiver_is_refused_with_both_names() -> None:
    with pytest.raises(Rejected) as caught:
        read_pins(GOOD, own_ports={8001: "PINRAIL_PUBLIC_PORT", 9001: "PINRAIL_ADMIN_PORT"})
    assert str(caught.value) == (
        "environments/production.yaml:9: models.churn-model.port: found 8001, which the receiver "
        "(PINRAIL_PUBLIC_PORT) has too, allowed one port each: change one of them"
    )


def test_one_bad_file_among_three_refuses_all_with_every_error_of_every_file() -> None:
    said = refused(
        {
            **GOOD,
            "environments/canary.yaml": environment("canary").replace(b"gate: {}", b"gaet: {}"),
            "environments/dev.yaml": b"[",
        }
    )
    assert [line.split(":")[0] for line in said] == ["environments/canary.yaml"] * 2 + ["environments/dev.yaml"]


def test_a_file_is_called_like_its_environment() -> None:
    (said,) = refused({"environments/prod.yaml": environment("production")})
    assert said.startswith("environments/prod.yaml:1: environment: found 'production', allowed 'prod'")


@pytest.mark.parametrize("name", ["-x", "a b", "a\nb", "é", "$(id)", ""])
def test_a_file_whose_name_is_no_environments_name_is_refused_on_one_harmless_line(name: str) -> None:
    (said,) = refused({**GOOD, f"environments/{name}.yaml": environment("x")})
    assert said.isprintable()
    assert said.isascii()


def test_two_pins_on_one_port_are_refused_with_both_places() -> None:
    content = {**GOOD, "environments/production.yaml": PRODUCTION.replace("8001", "8000").encode()}
    (said,) = refused(content)
    assert said == (
        "environments/staging.yaml:8: models.churn-model.port: found 8000, which environments/production.yaml:9: "
        "models.churn-model.port has too, allowed one port each: change one of them"
    )


def test_two_pins_on_one_port_in_one_environment_are_refused() -> None:
    twice = STAGING + "  other:\n    version: 1\n    port: 8000\n"
    assert "models.other.port: found 8000" in refused({"environments/staging.yaml": twice.encode()})[0]


@pytest.mark.parametrize(("field", "shared"), [("alias", "alias: staging"), ("stage", "stage: Staging")])
def test_two_environments_with_one_alias_or_stage_are_refused(field: str, shared: str) -> None:
    own = shared.replace("staging", "production").replace("Staging", "Production")
    content = {**GOOD, "environments/production.yaml": PRODUCTION.replace(own, shared).encode()}
    (said,) = refused(content)
    assert f"registry.{field}: found" in said
    assert "environments/production.yaml:3" in said
    assert "environments/staging.yaml:3" in said


def test_two_aliases_that_differ_in_case_alone_are_one_to_some_registries() -> None:
    production = PRODUCTION.replace("alias: production", "alias: Staging").encode()
    (said,) = refused({**GOOD, "environments/production.yaml": production})
    assert "registry.alias: found staging, which environments/production.yaml:3: registry.alias has too" in said


def test_environments_without_a_stage_do_not_share_it() -> None:
    assert len(read_pins(files(("a", None), ("b", None))).environments) == 2


def test_an_environment_after_one_that_is_not_there_is_refused_with_what_was_meant() -> None:
    (said,) = refused(files(("staging", None), ("production", "stagin")))
    assert said == (
        "environments/production.yaml:3: policy.after: found 'stagin', allowed one of the environments: "
        "did you mean staging?"
    )


@pytest.mark.parametrize("content", [files(("a", "a")), files(("a", "b"), ("b", "a"), ("c", "a"))])
def test_environments_that_wait_for_each_other_are_refused(content: dict[str, bytes]) -> None:
    said = refused(content)
    assert all("policy.after: found a circle (" in line for line in said)


def test_no_environment_file_at_all_is_refused() -> None:
    assert "found no environment file" in refused({})[0]
    assert "found no environment file" in refused({"environments/README.md": b""})[0]


def test_an_environment_file_that_disappeared_is_refused_and_never_a_teardown() -> None:
    (said,) = refused({"environments/staging.yaml": GOOD["environments/staging.yaml"]}, ("production", "staging"))
    assert said.startswith("environments/production.yaml: found nothing, but production still serves models")


def test_an_environment_with_no_models_is_a_legitimate_way_to_stop_serving() -> None:
    assert read_pins({"environments/a.yaml": environment("a")}, ("a",)).environments[0].models == {}


def test_pins_and_environments_are_found_by_name_or_refused_with_what_was_meant() -> None:
    desired = read_pins(GOOD)
    assert desired.environment("production").after == "staging"
    assert desired.pin("staging", "churn-model").port == 8000
    with pytest.raises(Rejected, match=r"no environment 'prodution': did you mean production\?"):
        desired.environment("prodution")
    with pytest.raises(Rejected, match=r"production has no pin for 'chrun-model': did you mean churn-model\?"):
        desired.pin("production", "chrun-model")
