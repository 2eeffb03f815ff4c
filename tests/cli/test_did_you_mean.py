"""Wherever a name is not known, the names like it are offered."""

from __future__ import annotations

import ast
import re
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import yaml
from huggingface_hub.errors import RepositoryNotFoundError
from typer.testing import CliRunner

import rice_core.encoders
from rice_core.cli import build_app, main
from rice_core.errors import UserError, did_you_mean
from rice_core.measure.config import load_config
from rice_core.spec import EncoderSpec


def test_names_like_a_wrong_one() -> None:
    known = ("linear", "linear-seg", "knn", "tokens")
    assert did_you_mean("lineer", known) == "did you mean linear or linear-seg? "
    assert did_you_mean("KNN", known) == "did you mean knn? "
    assert did_you_mean("knn", known) == "", "it is known: something else is wrong"
    assert did_you_mean("retrieval", known) == ""
    assert did_you_mean("a", ()) == ""
    assert did_you_mean("abc", ("abcd", "abce", "abcf", "abcg")) == "did you mean abcg, abcf or abce? "
    assert did_you_mean("GPU", ("cpu", "cuda"), {"gpu": "cuda"}) == "did you mean cuda? "
    assert did_you_mean("resolutoin", ("res",), {"resolution": "res"}) == "did you mean res? "


SAID = [
    (["run", "-e", "noice", "-p", "knn", "--data", "mini"], "did you mean noise or"),
    (["run", "-e", "hugginface:a/b", "-p", "knn", "--data", "mini"], "did you mean hf?"),
    (["run", "-e", "tim:vit", "-p", "knn", "--data", "mini"], "did you mean timm?"),
    (["run", "-e", "facebook/dinov2-large", "-p", "knn", "--data", "mini"], "did you mean hf:facebook/dinov2-large"),
    (["run", "-e", "noise?resolution=8", "-p", "knn", "--data", "mini"], "did you mean res?"),
    (["run", "-e", "noise?layer=8", "-p", "knn", "--data", "mini"], "did you mean layers?"),
    (["run", "-e", "noise", "-p", "lineer", "--data", "mini"], "did you mean linear"),
    (["run", "-e", "noise", "-p", "knn?temprature=1", "--data", "mini"], "did you mean temperature?"),
    (["run", "-e", "noise", "-p", "knn", "--data", "minii"], "did you mean mini"),
    (["run", "-e", "noise", "-p", "knn", "--data", "mini", "--only", "fialed"], "did you mean failed?"),
    (["run", "mini:encodrs"], "did you mean mini:encoders or"),
    (["run", "mini:encoders", "--scale", "smok"], "did you mean smoke?"),
    (["show", "linaer"], "did you mean linear"),
    (["show", "dinov2-l41"], "did you mean dinov2-l14"),
    (["export", "noise", "out", "--to", "huggingfac"], "did you mean hf?"),
    (["curate", "photos", "out", "--proposals", "clasical"], "did you mean classical?"),
]


@pytest.mark.parametrize(("arguments", "says"), SAID, ids=lambda case: str(case)[:60])
def test_the_command_line_offers_what_is_like_it(
    arguments: list[str], says: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("photos").mkdir()
    monkeypatch.setenv("RICEBENCH_STORE", str(tmp_path / "store"))
    with pytest.raises(SystemExit) as left:
        main(arguments)
    assert left.value.code == 2
    assert says in capsys.readouterr().err
    assert not list(tmp_path.glob("store/records/*")), "a typing mistake leaves no record"


@pytest.mark.parametrize(("arguments", "says"), [(["rnu"], "run"), (["run", "--encodrs", "noise"], "--encoders")])
def test_commands_and_options_are_typer_s_own_to_offer(arguments: list[str], says: str) -> None:
    found = CliRunner().invoke(build_app(), arguments)
    assert found.exit_code == 2
    assert re.search(rf"(Did you mean|Possible options).*{says}", found.output)


@pytest.fixture
def unknown(monkeypatch: pytest.MonkeyPatch) -> None:
    """A hub that has no model of that name."""

    def answer(*_: Any, **__: Any) -> None:
        raise RepositoryNotFoundError("404", response=SimpleNamespace(headers={}, request=None))  # type: ignore[arg-type]

    monkeypatch.setattr("rice_core.encoders.hugging_face.hf_hub_download", answer)


@pytest.mark.usefixtures("unknown")
def test_models_of_the_hub_that_the_catalogue_knows(
    small_world: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Said where a run reports it, and at the boundary of every other command."""
    monkeypatch.chdir(tmp_path)
    says = "log in if it is private; did you mean facebook/dinov2-large,"
    with pytest.raises(SystemExit):
        main(["run", "-e", "hf:facebook/dinov2-lage", "-p", "knn", "--data", str(small_world), "--store", "store"])
    told = capsys.readouterr()
    assert says in told.out + told.err
    with pytest.raises(SystemExit):
        main(["export", "hf:facebook/dinov2-lage", "out"])
    assert says in capsys.readouterr().err


def test_devices() -> None:
    from rice_core.measure.subject import pick_device

    with pytest.raises(UserError, match=r"no device 'gpu' here .*; did you mean cuda\?"):
        pick_device("gpu")


@pytest.mark.parametrize(
    ("body", "says"),
    [
        ({"probs": ["knn"]}, r"probs: there is no such setting \(did you mean probes\?\)"),
        ({"zzz": 1}, "no such setting; see"),
    ],
)
def test_settings_of_a_configuration(tmp_path: Path, body: dict[str, Any], says: str) -> None:
    file = tmp_path / "run.yaml"
    file.write_text(yaml.safe_dump({"encoders": ["noise"], "probes": ["knn"], "data": "mini"} | body))
    with pytest.raises(UserError, match=says):
        load_config(file)


@pytest.mark.parametrize(
    ("typed", "says"),
    [
        ("timm:vit_bse_patch16_siglip_512", "did you mean vit_base_patch16_siglip_512"),
        ("timm:vit_base_patch16_siglip_512.webly", "did you mean vit_base_patch16_siglip_512.webli or"),
        ("open_clip:ViT-L-14-337/openai", "did you mean ViT-L-14-336"),
        ("open_clip:ViT-L-14-336/opnai", "did you mean openai?"),
        ("synthetic:orcale", "did you mean oracle?"),
        ("rice:builtin/mini-supervized", "did you mean mini-supervised?"),
    ],
)
def test_models_of_the_libraries_and_our_own(typed: str, says: str) -> None:
    with pytest.raises(UserError) as caught:
        rice_core.encoders.load_encoder(EncoderSpec.parse(typed))
    assert says in str(caught.value)


def test_no_adapter_reads_the_catalogue() -> None:
    """A row more in it must not change the digest of the code by which every number was made."""
    imported: Callable[[ast.AST], list[str]] = lambda node: [  # noqa: E731
        *([node.module or ""] if isinstance(node, ast.ImportFrom) else []),
        *([alias.name for alias in node.names] if isinstance(node, (ast.Import, ast.ImportFrom)) else []),
    ]
    for path in Path(rice_core.encoders.__file__).parent.glob("*.py"):
        names = [name for node in ast.walk(ast.parse(path.read_text())) for name in imported(node)]
        assert not any("catalogue" in name for name in names), path.name
