"""The texts that a model's training data held, where its directory has the summary that ``ml.train`` puts there."""

from serving.errors import UnsupportedModelError
from serving.model.model_dir import ModelDir, inside
from serving.model.small_files import REFERENCE, parse_json, read_small

PLACES = ("pinrail/reference.json", "extra_files/reference.json")  # as in ml/datasets/reference.py
MOST = 50  # of a column; with more it is free text


def known_values(model: ModelDir) -> dict[str, list[str]]:
    """By column of texts. A summary that cannot be read says nothing: it is no reason not to serve the model."""
    found: dict[str, list[str]] = {}
    for place in PLACES:
        try:
            profiles = parse_json(read_small(inside(model.path, place), REFERENCE))["columns"]
            for column in model.columns:
                values = profiles.get(column.name, {}).get("shares", {})
                if column.type == "string" and 0 < len(values) <= MOST:
                    found[column.name] = sorted(map(str, values))
        except (OSError, ValueError, LookupError, TypeError, AttributeError, UnsupportedModelError):
            continue
    return found
