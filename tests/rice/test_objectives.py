"""The three objectives on one batch: what each reads, what it learns from, and that it learns."""

import dataclasses
from pathlib import Path

import pytest
import torch
from shards import write_shards

from rice_core.encoders.rice import save_rice
from rice_core.errors import UserError
from rice_core.model.vit import ViT, ViTConfig
from rice_core.rice.config import TrainConfig
from rice_core.rice.loader import RegionLoader
from rice_core.rice.loss.row_adamw import RowAdamW
from rice_core.rice.objectives import build_objective
from rice_core.rice.regions import read_region_manifest
from rice_core.rice.start import initial_trunk


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    return write_shards(tmp_path_factory.mktemp("data") / "shards")


def _config(folder: Path, name: str, **model) -> TrainConfig:
    return TrainConfig.model_validate(
        {
            "name": name,
            "model": {"vit": {"width": 32, "depth": 2, "heads": 2, "patch": 8, "resolution": 48}, "region_layers": 1}
            | model,
            "objective": {
                "name": name,
                "loss": {"margin": "cos", "s": 16, "rho": 0.5},
                "regions": 3,
                "ocr_labels": 2,
                "tokenizer": "words",
                "text_width": 32,
                "text_depth": 1,
                "text_heads": 2,
                "text_tokens": 16,
            },
            "data": {"path": str(folder)},
            "stages": [{"resolution": 48, "samples": 64}],
            "batch": 16,
        }
    )


def _first(config: TrainConfig, folder: Path):
    manifest = read_region_manifest(folder)
    return manifest, next(iter(RegionLoader(config, manifest, stage=config.stages[0])))


@pytest.mark.parametrize("name", ["rice", "mlcd", "siglip"])
def test_each_objective_learns_a_batch_by_heart(folder, name):
    config = _config(folder, name)
    manifest, batch = _first(config, folder)
    objective = build_objective(config, manifest)
    optimizers = [torch.optim.AdamW(objective.network.parameters(), lr=3e-3)]
    if objective.banks:
        optimizers.append(RowAdamW([bank.weight for bank in objective.banks.values()], lr=3e-3))
    losses = []
    for step in range(40):
        output = objective.loss(objective.network(batch), batch, step=step)
        for optimizer in optimizers:
            optimizer.zero_grad()
        output.loss.backward()
        for optimizer in optimizers:
            optimizer.step()
        losses.append(output.loss.item())
    assert sum(losses[-5:]) < 0.7 * sum(losses[:5])
    tops = [float(value) for key, value in output.stats.items() if key.endswith("top1")]
    assert tops
    assert min(tops) > 0.3  # chance: 1 of 16 captions, 1 of half the classes


def test_only_rice_depends_on_where_the_regions_are(folder):
    for name, depends in (("rice", True), ("mlcd", False)):
        config = _config(folder, name)
        manifest, batch = _first(config, folder)
        objective = build_objective(config, manifest)
        moved = dataclasses.replace(batch, visible_BNP=batch.visible_BNP.roll(5, dims=2))
        with torch.no_grad():
            losses = [float(objective.loss(objective.network(b), b, step=0).loss) for b in (batch, moved)]
        assert (losses[0] != losses[1]) == depends, name


def test_mlcd_without_regions_is_rice_with_the_whole_image_as_its_one_region(folder):
    """Same seed, same banks: a region that sees everything is the class token, so the losses agree."""
    rice, mlcd = _config(folder, "rice"), _config(folder, "mlcd")
    manifest, batch = _first(mlcd, folder)
    whole = dataclasses.replace(
        batch,
        visible_BNP=torch.ones(16, 1, 36, dtype=torch.bool),
        type_BN=torch.zeros(16, 1, dtype=torch.long),
        labels_BNM=batch.image_objects_BL[:, None],
        weight_BN=torch.ones(16, 1),
    )
    both = []
    for config, given in ((rice, whole), (mlcd, batch)):
        objective = build_objective(config, manifest)
        with torch.no_grad():
            both.append(objective.loss(objective.network(given), given, step=3).stats["object/loss"])
    torch.testing.assert_close(both[0], both[1], atol=1e-5, rtol=1e-5)


def test_objectives_of_one_seed_start_from_one_trunk(folder):
    manifest = read_region_manifest(folder)
    configs = [_config(folder, name) for name in ("rice", "mlcd", "siglip")]
    states = [build_objective(config, manifest).network.trunk.state_dict() for config in configs]
    states.append(initial_trunk(configs[0], manifest).state_dict())
    for state in states[1:]:
        assert all(torch.equal(state[key], states[0][key]) for key in states[0])


def test_siglip_pairs_each_image_with_its_own_caption(folder):
    config = _config(folder, "siglip")
    manifest, batch = _first(config, folder)
    objective = build_objective(config, manifest)
    with torch.no_grad():
        out = objective.network(batch)
        eye = torch.eye(16)
        perfect = dataclasses.replace(out, image_BD=eye, text_BD=eye)
        swapped = dataclasses.replace(out, image_BD=eye, text_BD=eye.roll(1, 0))
        good, bad = (objective.loss(o, batch, step=0) for o in (perfect, swapped))
    assert float(good.stats["top1"]) == 1
    assert float(bad.stats["top1"]) == 0
    assert good.loss < bad.loss
    # Zhai et al., Eq. 1, spelt out.
    logits = 10 * eye - 10
    want = -torch.nn.functional.logsigmoid((2 * eye - 1) * logits).sum() / 16
    torch.testing.assert_close(good.loss, want, atol=1e-4, rtol=1e-5)


def test_an_empty_caption_is_finite(folder):
    config = _config(folder, "siglip")
    manifest, batch = _first(config, folder)
    objective = build_objective(config, manifest)
    batch = dataclasses.replace(batch, caption_BL=torch.zeros_like(batch.caption_BL))
    output = objective.loss(objective.network(batch), batch, step=0)
    output.loss.backward()
    assert output.loss.isfinite()
    assert all(p.grad is None or p.grad.isfinite().all() for p in objective.network.parameters())


def test_what_is_missing_is_said(folder):
    manifest = read_region_manifest(folder)
    config = _config(folder, "mlcd")
    clusters = config.model_copy(update={"objective": config.objective.model_copy(update={"image_labels": "clusters"})})
    bare = manifest.model_copy(update={"banks": {k: v for k, v in manifest.banks.items() if k != "image"}})
    with pytest.raises(UserError, match="mlcd needs image"):
        build_objective(clusters, bare)


def test_training_starts_from_given_weights_where_they_fit(folder, tmp_path):
    torch.manual_seed(5)
    vit = ViT(ViTConfig(width=32, depth=2, heads=2, patch=8, resolution=48))
    save_rice(tmp_path / "start", vit, tags={})
    manifest = read_region_manifest(folder)
    found = build_objective(_config(folder, "rice", init_from=f"rice:{tmp_path / 'start'}"), manifest)
    assert all(torch.equal(a, b) for a, b in zip(found.network.trunk.parameters(), vit.parameters(), strict=True))
    other = {"width": 48, "depth": 2, "heads": 2, "patch": 8, "resolution": 48}
    with pytest.raises(UserError, match="does not fit the trunk"):
        build_objective(_config(folder, "rice", vit=other, init_from=f"rice:{tmp_path / 'start'}"), manifest)


def test_a_projection_and_a_head_train_and_are_no_part_of_the_trunk(folder):
    config = _config(folder, "rice", projection=16, region_mode="head")
    manifest, batch = _first(config, folder)
    objective = build_objective(config, manifest)
    assert objective.banks["object"].weight.shape[1] == 16
    objective.loss(objective.network(batch), batch, step=0).loss.backward()
    assert objective.network.projection.weight.grad.abs().max() > 0
    assert objective.network.trunk.state_dict().keys() == initial_trunk(config, manifest).state_dict().keys()
