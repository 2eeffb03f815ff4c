"""Shorthands parse, print and refuse."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from rice_core.cli.options import split_list
from rice_core.errors import UserError
from rice_core.record import Cell
from rice_core.spec import DatasetSpec, EncoderSpec, ProbeRequest, ProbeSpec

MODELS = st.text(st.characters(codec="utf-8", exclude_categories=("Cs", "Cc", "Z")), min_size=1, max_size=30)


@pytest.mark.parametrize(
    "text",
    [
        "hf:DeepGlint-AI/rice-vit-large-patch14-560@a1b2?res=560&layers=-2",
        "timm:vit_base_patch16_siglip_512",
        "open_clip:ViT-L-14-336/openai?res=448x560&layers=-2,-1&norm=1&dtype=bf16&pad=1",
        "rice:runs/mini/encoder",
        "hf:/data/a folder/with%40at/model",
        "hf:mine?mean=0.5&std=0.229,0.224,0.225&interpolation=bicubic",
        "timm:x?res=448&mean=-1e-05,0.0,2.5",
        "timm:vit_base_patch16_224.mae?res=448&weights=/data/a%2Cb%26c%2Bd.pth",
    ],
)
def test_shorthand_round_trip(text: str) -> None:
    spec = EncoderSpec.parse(text)
    assert EncoderSpec.parse(spec.shorthand) == spec
    assert spec.shorthand == text


@given(MODELS, st.sampled_from(["hf", "timm", "open_clip", "rice", "synthetic"]))
def test_any_model_name_survives_the_round_trip(model: str, source: str) -> None:
    spec = EncoderSpec(source=source, model=model)
    assert EncoderSpec.parse(spec.shorthand).identity() == spec.identity()


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("nonsense", "source:model"),
        ("ftp:model", "source:model"),
        ("hf:", "model"),
        ("hf:a?res=big", "res=big"),
        ("hf:a?res=0", "at least 1 pixel"),
        ("hf:a?layer=-2", "'layer'"),
        ("hf:a?res=2&res=3", "twice"),
        ("hf:a?norm=yes", "norm=yes"),
        ("hf:a?dtype=int8", "dtype"),
        ("hf:a?layers=", "layers"),
        ("hf:a?mean=0.5,0.5", "mean=0.5,0.5 cannot be read"),
        ("hf:a?mean=half", "mean=half cannot be read"),
        ("hf:a?mean=nan", "mean.0: Input should be a finite number"),
        ("hf:a?std=0.2,0,0.2", "std.1: Input should be greater than 0"),
        ("hf:a?std=inf", "std.0: Input should be a finite number"),
        ("hf:a?interpolation=cubic", "'nearest', 'lanczos', 'bilinear' or 'bicubic'"),
        ("hf:a?weights=b.pth", "weights= goes with timm:NAME alone"),
        ("timm:local-dir:a?weights=b.pth", "weights= goes with timm:NAME alone"),
    ],
)
def test_a_wrong_string_is_refused_with_its_reason(text: str, says: str) -> None:
    with pytest.raises(UserError, match=says):
        EncoderSpec.parse(text)


def test_the_display_name_is_no_part_of_the_identity() -> None:
    def cell(name: str, layers: str = "-1") -> Cell:
        return Cell(
            encoder=EncoderSpec.parse(f"{name}=timm:x?layers={layers}"),
            probe=ProbeSpec(name="knn", version=1, params={"k": 10}),
            dataset=DatasetSpec(name="d", layout="photos", fingerprint="f"),
        )

    assert cell("a").id == cell("b").id
    assert cell("a").id != cell("a", "-2").id
    assert cell("a").comparable == cell("a", "-2").comparable


def _cell(encoder: EncoderSpec) -> Cell:
    return Cell(
        encoder=encoder,
        probe=ProbeSpec(name="knn", version=1, params={"k": 10}),
        dataset=DatasetSpec(name="d", layout="photos", fingerprint="f"),
        seed=3,
    )


def test_ids_of_cells_stay_as_they_were_before_mean_std_and_interpolation() -> None:
    spec = EncoderSpec.parse("hf:org/name?res=448&layers=-2,-1")
    assert _cell(spec).id == "815cf4cf18b7b8741925"  # as version 0.1.0 wrote it
    before = {
        "name": "",
        "source": "hf",
        "model": "org/name",
        "revision": None,
        "resolution": [448, 448],
        "pad_to_patch": False,
        "layers": [-2, -1],
        "norm_last": None,
        "dtype": "float32",
    }
    assert spec.model_dump(mode="json") == before
    assert EncoderSpec.model_validate(before) == spec


@pytest.mark.parametrize("setting", ["mean=0.5", "std=0.5", "interpolation=bicubic"])
def test_mean_std_and_interpolation_are_part_of_the_identity(setting: str) -> None:
    plain, given = EncoderSpec.parse("hf:x"), EncoderSpec.parse(f"hf:x?{setting}")
    assert _cell(plain).id != _cell(given).id
    assert plain.identity() != given.identity()
    cell = _cell(given)
    assert Cell.model_validate_json(cell.model_dump_json()) == cell


def test_one_number_is_three() -> None:
    assert EncoderSpec.parse("hf:x?mean=0.5").identity() == EncoderSpec.parse("hf:x?mean=0.5,0.5,0.5").identity()
    assert EncoderSpec.parse("hf:x?mean=0.5").mean == (0.5, 0.5, 0.5)


def test_commas_of_mean_and_std_do_not_separate_encoders() -> None:
    one, two = "hf:a?mean=0.5,.5,-0.5&std=0.1,0.2,1e-05&interpolation=bicubic", "timm:b"
    assert split_list([f"{one},{two}"]) == [one, two]


def test_a_field_that_came_later_leaves_the_requests_without_it_their_ids() -> None:
    """The id is that of the first stores, by the code that wrote them."""

    def cell(text: str) -> Cell:
        probe = ProbeSpec(name="knn", version=1)
        return Cell(
            encoder=EncoderSpec.parse(text),
            probe=probe,
            dataset=DatasetSpec(name="d", layout="photos", fingerprint="f"),
        )

    assert cell("timm:x").id == "273403d997c3783a8cdd"
    assert "weights" not in cell("timm:x").model_dump(mode="json")["encoder"]
    assert "weights" not in EncoderSpec.parse("timm:x").identity()
    given = cell("timm:x?weights=a+b.pth")
    assert given.encoder.weights == "a+b.pth", "a plus is a plus"
    assert given.encoder.identity()["weights"] == "a+b.pth"
    assert given.id != cell("timm:x?weights=b.pth").id != cell("timm:x").id
    assert Cell.model_validate_json(given.model_dump_json()) == given


def test_probe_values_are_read_as_what_they_are() -> None:
    assert ProbeRequest.parse("p?a=1&b=0.5&c=true&d=x").params == {"a": 1, "b": 0.5, "c": True, "d": "x"}
    assert ProbeSpec(name="p", version=1, params={"b": 2, "a": 1}).shorthand == "p?a=1&b=2"


@pytest.mark.parametrize("number", ["inf", "-inf", "nan"])
def test_no_number_of_a_setting_is_infinite(number: str) -> None:
    """At every boundary: an infinite rate was trained with, and a NaN became the mean of pixels."""
    from rice_core.rice.config import OptimizerConfig
    from rice_core.rice.loss.config import LossConfig

    for kind, field in ((OptimizerConfig, "rate"), (OptimizerConfig, "clip"), (LossConfig, "m"), (LossConfig, "s")):
        with pytest.raises(ValidationError):
            kind.model_validate({field: float(number)})
        assert getattr(kind.model_validate({field: 0.5}), field) == 0.5
