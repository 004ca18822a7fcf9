"""The published schemas are those of the code."""

import math
from pathlib import Path

import jsonschema
import pytest

from receiver.admin.views import as_json
from receiver.cli.commands.plan import PlanView, SlotPlanView
from receiver.cli.schemas import PUBLISHED, main, schema

DOCS = Path(__file__).parents[3] / "docs" / "schemas"


def test_docs_schemas_is_what_the_code_publishes(tmp_path: Path) -> None:
    main(tmp_path)
    generated = {file.name: file.read_text(encoding="utf-8") for file in tmp_path.iterdir()}
    published = {file.name: file.read_text(encoding="utf-8") for file in DOCS.glob("*.json")}
    assert published == generated, "write them anew: python -m receiver.cli.schemas docs/schemas"


@pytest.mark.parametrize("name", PUBLISHED)
def test_each_schema_is_one_and_asks_for_every_field(name: str) -> None:
    found = schema(name)
    jsonschema.Draft202012Validator.check_schema(found)
    objects = [definition for definition in found["$defs"].values() if "properties" in definition]
    assert objects
    assert all(definition["required"] == list(definition["properties"]) for definition in objects)


def test_a_metric_that_is_no_number_is_null_as_json_has_none(tmp_path: Path) -> None:
    slot = SlotPlanView("staging", "churn", 1, 2, "promote", "", [], {"f1": math.nan}, {"f1": math.inf}, None)
    answer = as_json(PlanView("1f" * 20, None, [slot]))
    assert (answer["plan"][0]["metrics_old"], answer["plan"][0]["metrics_new"]) == ({"f1": None}, {"f1": None})
    jsonschema.validate(answer, schema("plan"))
