"""Whatever the OpenAPI description allows or forbids, the server keeps to it: found out by somebody else's tool."""

import schemathesis
from hypothesis import HealthCheck, given, settings
from schemathesis.specs.openapi.checks import positive_data_acceptance

from serving.app import ModelServer
from tests.support.examples import examples


def test_predict_answers_as_it_describes_itself(app: ModelServer) -> None:
    predict = schemathesis.openapi.from_asgi("/openapi.json", app)["/predict"]["POST"]

    @settings(max_examples=examples(60), deadline=None, database=None, suppress_health_check=list(HealthCheck))
    @given(case=predict.as_strategy())
    def each(case: schemathesis.Case) -> None:
        # Numbers that overflow inside the model are refused with 422, and where that begins depends on the model.
        case.call_and_validate(excluded_checks=[positive_data_acceptance])

    each()
