"""The command's options and the settings are the same thing."""

from typing import Any

import pytest
import typer
from typer.testing import CliRunner

from rice_core.cli import build_app
from rice_core.errors import UserError
from rice_core.rice.curate import CurateSettings, pipeline


def test_every_setting_is_an_option_with_the_same_default() -> None:
    command: Any = typer.main.get_command(build_app())
    options = {option.name: option for option in command.commands["curate"].params}
    for name, field in CurateSettings.model_fields.items():
        assert options[name].opts == ["--" + name.replace("_", "-")]
        assert options[name].default == field.default
        assert options[name].help


def test_options_become_settings(monkeypatch: pytest.MonkeyPatch) -> None:
    seen = []

    def curate(_images: Any, _out: Any, settings: CurateSettings, **_: Any) -> None:
        seen.append(settings)
        raise UserError("seen")

    monkeypatch.setattr(pipeline, "curate", curate)
    words = ["--labels", "truth", "--image-classes", "9", "--image-labels", "2", "--iterations", "3", "--refine", "0"]
    CliRunner().invoke(build_app(), ["curate", "in", "out", "--quiet", *words])
    expected = {"labels": "truth", "image_classes": 9, "image_labels": 2, "iterations": 3, "refine": 0}
    assert seen == [CurateSettings(**expected)]


def test_a_value_that_cannot_be_is_named_by_its_option() -> None:
    result = CliRunner().invoke(build_app(), ["curate", "in", "out", "--quiet", "--labels", "mine"])
    assert isinstance(result.exception, UserError)
    assert str(result.exception).startswith("--labels: Input should be 'clusters' or 'truth'")
