"""What happens beside the steps: the log and its picture, exports, probes."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import pytest
import torch
from shards import write_shards
from training import last_checkpoint, losses, run, tiny

from rice_core.encoders import load_encoder
from rice_core.errors import UserError
from rice_core.rice.config import ProbeHook
from rice_core.spec import EncoderSpec
from rice_core.train.metrics import MetricsLog
from rice_core.world.layouts.coco import write_coco


def test_a_log_is_rewound_to_the_checkpoint(tmp_path: Path) -> None:
    log = MetricsLog(tmp_path)
    for step in (1, 2, 3):
        log.add({"step": step, "loss": math.nan if step == 2 else 1.5, "ocr/top1": math.inf})
    with (tmp_path / "metrics.jsonl").open("a") as file:
        file.write('{"step": 4, "lo')  # a kill while writing
    assert [row["step"] for row in log.rows()] == [1, 2, 3]
    log.rewind(2)
    log.add({"step": 3, "loss": 2.5})
    lines = (tmp_path / "metrics.jsonl").read_text().splitlines()
    assert [json.loads(line)["loss"] for line in lines] == [1.5, None, 2.5]


def test_a_training_leaves_its_files(tmp_path: Path) -> None:
    """Two steps with an export and a probe after each; the encoder loads, and both forms of it agree."""
    data = write_shards(tmp_path / "data", samples=16)
    world = write_coco(tmp_path / "coco", seed=1, train=40, val=20)
    config = tiny(
        data,
        stages=[{"resolution": 32, "samples": 8}, {"resolution": 48, "samples": 8}],
        export_every=1,
        probe={"every": 1, "data": str(world), "probes": ["knn?k=3"]},
        tags={"study": "none"},
    )
    out = tmp_path / "out"
    assert run(config, out)
    assert {path.name for path in out.iterdir()} >= {"config.json", "metrics.jsonl", "curves.png", "encoder", "hf"}
    assert (out / "curves.png").read_bytes().startswith(b"\x89PNG")
    assert sorted(path.name for path in (out / "exports").iterdir()) == ["step-00000001", "step-00000002"]

    about = json.loads((out / "encoder" / "encoder.json").read_text())
    assert about["vit"]["resolution"] == 48
    assert about["preprocess"]["resolution"] == [48, 48]
    assert about["tags"] | {"commit": ""} == {
        "study": "none", "training": "tiny", "objective": "rice", "steps": "2", "samples": "16", "seed": "0",
        "weights": "moving average, decay 0.9", "data": about["tags"]["data"], "commit": "",
    }  # fmt: skip
    pixels_B3HW = torch.randn(2, 3, 48, 32)
    dense = [
        load_encoder(EncoderSpec.parse(f"{text}?res=48")).encode(pixels_B3HW).dense_BCHW
        for text in (f"rice:{out / 'encoder'}", f"hf:{out / 'hf'}")
    ]
    torch.testing.assert_close(dense[0], dense[1])

    probed = {row["step"]: row["probe/knn/accuracy"] for row in MetricsLog(out).rows() if "probe/knn/accuracy" in row}
    assert sorted(probed) == [1, 2]
    assert all(0 <= value <= 100 for value in probed.values())
    assert len(list((out / "probes" / "records").glob("*.json"))) == 2


def test_the_probes_that_a_training_has_unasked(tmp_path: Path) -> None:
    data = write_shards(tmp_path / "data", samples=16)
    world = write_coco(tmp_path / "coco", seed=1, train=40, val=20)
    probe = {"every": 1, "data": str(world)}
    config = tiny(data, stages=[{"resolution": 32, "samples": 8}], probe=probe)
    assert run(config, tmp_path / "out")
    (probed,) = [row for row in MetricsLog(tmp_path / "out").rows() if "loss" not in row]
    assert probed.keys() == {"step", "probe/knn/accuracy", "probe/linear-seg/miou"}
    assert all(0 <= probed[name] <= 100 for name in probed)


def test_probing_changes_no_weight(tmp_path: Path) -> None:
    """Loading an encoder draws from torch's generator, and so does this training."""
    from test_runner import with_dropout

    data = write_shards(tmp_path / "data", samples=16)
    world = write_coco(tmp_path / "coco", seed=1, train=40, val=20)
    short: dict[str, Any] = {"stages": [{"resolution": 32, "samples": 16}]}
    run(tiny(data, **short), tmp_path / "plain", build=with_dropout)
    probe = {"every": 1, "data": str(world), "probes": ["knn?k=3"]}
    run(tiny(data, probe=probe, **short), tmp_path / "probed", build=with_dropout)
    plain, probed = last_checkpoint(tmp_path / "plain"), last_checkpoint(tmp_path / "probed")
    assert all(torch.equal(plain[name], probed[name]) for name in plain)


def test_a_probe_that_cannot_run_is_a_sentence(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    data = write_shards(tmp_path / "data", samples=16)
    probe = {"every": 1, "data": str(tmp_path / "nothing"), "probes": ["knn"]}
    config = tiny(data, stages=[{"resolution": 32, "samples": 8}], probe=probe)
    assert run(config, tmp_path / "out", quiet=False)
    assert "step 1: not probed:" in capsys.readouterr().err
    assert sorted(losses(tmp_path / "out")) == [1]
    with pytest.raises(UserError, match="no probe 'knnn'; did you mean knn"):
        run(config.model_copy(update={"probe": ProbeHook(every=1, probes=("knnn",))}), tmp_path / "misspelt")
    assert not (tmp_path / "misspelt").exists()
