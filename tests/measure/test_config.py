"""Configurations and probe requests are inert: they are read, checked against an allow-list, and never run."""

from pathlib import Path

import pytest

from rice_core.errors import UserError
from rice_core.measure.config import build_probe, load_config
from rice_core.spec import ProbeRequest


def test_a_dotted_path_in_type_is_refused(tmp_path: Path) -> None:
    witness = tmp_path / "witness"
    for name in ("os.system", "subprocess.call", "rice_core.disk.files.write_atomically", "builtins.exec"):
        with pytest.raises(UserError, match="no probe"):
            build_probe(ProbeRequest(name=name, params={"command": f"touch {witness}"}))
    assert not witness.exists()


def test_the_registry_of_mmengine_would_have_run_it(tmp_path: Path) -> None:
    """Why probes are not built by it; if this ever fails, mmengine has become safer."""
    from mmengine import Registry

    witness = tmp_path / "witness"
    Registry("anything", locations=[]).build({"type": "os.system", "command": f"touch {witness}"})
    assert witness.exists()


@pytest.mark.parametrize(
    "text",
    [
        "!!python/object/apply:os.system ['touch WITNESS']",
        "encoders: !!python/name:os.system\nprobes: [knn]\ndata: x",
        "encoders: [a]\nprobes: [{type: !!python/object/apply:os.system ['touch WITNESS']}]\ndata: x",
        "{{ __import__('os').system('touch WITNESS') }}: 1",
        "_base_: other.py\nencoders: [a]\nprobes: [knn]\ndata: x",
        "custom_imports: {imports: [antigravity]}\nencoders: [a]\nprobes: [knn]\ndata: x",
        "",
        "[1, 2",
        "encoders: []\nprobes: [knn]\ndata: x",
        "encoders: [a]\nprobes: [knn]\ndata: x\nlimit: 0",
        "encoders: [a]\nprobes: [knn]\ndata: x\nseeds: [-1]",
        "encoders: [a]\nprobes: [knn]\ndata: x\nseeds: []",
        "encoders: [a]\nprobes: [knn]\ndata: x\nseeds: [9223372036854775808]",
    ],
)
def test_a_hostile_or_wrong_configuration_is_one_sentence(tmp_path: Path, text: str) -> None:
    path = tmp_path / "run.yaml"
    path.write_text(text.replace("WITNESS", str(tmp_path / "witness")))
    with pytest.raises(UserError):
        load_config(path)
    assert not (tmp_path / "witness").exists()


def test_an_infinite_parameter_is_told_by_its_name(tmp_path: Path) -> None:
    path = tmp_path / "run.yaml"
    path.write_text("encoders: [a]\nprobes: [{type: knn, temperature: .inf}]\ndata: x")
    with pytest.raises(UserError, match="knn: temperature=inf: Input should be a finite number"):
        build_probe(load_config(path).probe_requests()[0])


def test_python_files_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "run.py"
    path.write_text("raise SystemExit(1)")
    with pytest.raises(UserError, match="would run code"):
        load_config(path)


def test_a_configuration_reads_both_forms_of_a_probe(tmp_path: Path) -> None:
    path = tmp_path / "run.yaml"
    path.write_text(
        "encoders: [synthetic:noise]\nprobes: ['knn?k=20', {type: knn, k: 5}]\ndata: photos\nseeds: [0, 1]\n"
    )
    config = load_config(path)
    assert [request.params["k"] for request in config.probe_requests()] == [20, 5]
    assert build_probe(config.probe_requests()[0]).spec.params["k"] == 20


@pytest.mark.parametrize(
    ("request_", "says"),
    [
        (ProbeRequest(name="knm"), r"did you mean knn\?"),
        (ProbeRequest(name="knn", params={"kk": 3}), "no parameter 'kk'"),
        (ProbeRequest(name="knn", params={"k": "many"}), "k=many"),
        (ProbeRequest(name="knn", params={"k": 0}), "k"),
        (ProbeRequest.parse("knn?k=true"), "k=True is a truth value; write a number"),
        (ProbeRequest.parse("knn?temperature=1e999"), "temperature=inf: Input should be a finite number"),
        (ProbeRequest.parse("knn?temperature=nan"), "temperature=nan: Input should be a finite number"),
        (ProbeRequest.parse("tokens?perplexity=-inf"), "perplexity=-inf: Input should be a finite number"),
        (ProbeRequest.parse("linear?holdout=inf"), "holdout=inf: Input should be a finite number"),
        (ProbeRequest.parse("coco-det?rate=inf"), "rate=inf: Input should be a finite number"),
        (ProbeRequest.parse("coco-det?rate=1e20"), "rate: Input should be less than or equal to 1000"),
        (ProbeRequest.parse("coco-det?side=1000000"), "side: Input should be less than or equal to 16384"),
        (ProbeRequest.parse("rf100-det?batch=1e18"), "batch: Input should be less than or equal to 100000"),
        (ProbeRequest.parse("lvis-det?iterations=1e18"), "iterations: Input should be less than or equal to"),
        (ProbeRequest.parse("coco-det?projection=1e18"), "projection: Input should be less than or equal to"),
        (
            ProbeRequest.parse("coco-det?batch=6&accumulate=4"),
            "coco-det: a batch of 6 images does not divide into accumulate=4",
        ),
        (ProbeRequest.parse("coco-det?views=1e18"), "views: Input should be less than or equal to"),
    ],
)
def test_a_wrong_probe_request_says_what_is_wrong(request_: ProbeRequest, says: str) -> None:
    with pytest.raises(UserError, match=says):
        build_probe(request_)
