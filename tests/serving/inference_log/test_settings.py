"""The settings as text, on their way to the model server."""

import pytest

from serving.inference_log.settings import LogSettings, read_settings


def test_settings_arrive_as_they_were_sent() -> None:
    settings = LogSettings(sample=0.25, caller="X-Caller", drop=("a", "b"), hash=("c",))
    assert read_settings(settings.to_json()) == settings
    assert read_settings("") is None
    assert read_settings("{}") == LogSettings()


@pytest.mark.parametrize("text", ["[]", "{", '{"sampel": 1}', '{"sample": "all"}'])
def test_other_text_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match=r"\w"):
        read_settings(text)
