"""One, two and three ranks give what one process gives: the loss, both gradients, the sample, the start, the stats."""

import json
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from rice_core.rice.loss.centers import ClassCenters
from rice_core.rice.loss.cluster import LossOutput, cluster_loss
from rice_core.rice.loss.config import LossConfig

RANKS = Path(__file__).with_name("sharding.py")


PAPER = LossConfig(rho=0.3, chunk=6)


@dataclass(frozen=True)
class Case:
    config: LossConfig = PAPER
    regions: int = 23
    classes: int = 40
    places: int = 2
    dim: int = 8
    seed: int = 5
    step: int = 3
    parts: int = 1
    mean_reduction: bool = False
    weighted: bool = True
    uneven: bool = False

    def bounds(self, world: int) -> list[int]:
        """Where each rank's regions begin; `uneven` gives rank 1 none."""
        if self.uneven:
            return {1: [0, self.regions], 2: [0, self.regions, self.regions], 3: [0, 15, 15, self.regions]}[world]
        return [self.regions * rank // world for rank in range(world + 1)]


CASES = {
    "paper": Case(),
    "softmax": Case(LossConfig(form="softmax", rho=0.3, chunk=6)),
    "partial_fc": Case(LossConfig(negatives="partial_fc", rho=0.7, chunk=5, margin="cos")),
    "all": Case(LossConfig(negatives="all", chunk=1, margin_grad="straight_through")),
    "filtered": Case(LossConfig(negatives="all", interclass_filter=0.2, chunk=4096)),
    "uneven": Case(uneven=True, places=1),
    "two-classes": Case(LossConfig(negatives="all"), classes=2, places=1),
    "many-classes": Case(LossConfig(rho=0.01), classes=9000, dim=2),
    "no-weight": Case(weighted=False),
    "micro-batches": Case(parts=3),
    "averaged-afterwards": Case(LossConfig(form="softmax", rho=0.3), mean_reduction=True),
}
STATS = ("cosine_positive", "cosine_negative_p95", "top1", "no_positive", "coverage", "mean_feature_norm")


def material(case: Case) -> dict[str, torch.Tensor]:
    rng = torch.Generator().manual_seed(case.regions + case.classes)
    labels = torch.randint(-1, case.classes, (case.regions, case.places), generator=rng)
    weight = torch.rand(case.regions, generator=rng) * (torch.rand(case.regions, generator=rng) > 0.2) * case.weighted
    total = weight[(labels >= 0).any(1)].sum()
    x = torch.randn(case.regions, case.dim, generator=rng)
    return {"x": x, "labels": labels, "weight": weight, "total": total}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """All cases, run by three processes that start once."""
    path = tmp_path_factory.mktemp("ranks")
    body = {}
    for name, case in CASES.items():
        save_file(material(case), path / f"{name}.safetensors")
        fields = {key: value for key, value in vars(case).items() if key not in ("config", "weighted", "uneven")}
        body[name] = fields | {
            "config": case.config.model_dump(),
            "bounds": {world: case.bounds(world) for world in (1, 2, 3)},
        }
    (path / "cases.json").write_text(json.dumps(body))
    ranks = subprocess.run([sys.executable, RANKS, path], capture_output=True, text=True, timeout=300, check=False)
    assert ranks.returncode == 0, ranks.stderr
    return path


def alone(case: Case, dtype: torch.dtype) -> tuple[ClassCenters, LossOutput, torch.Tensor]:
    """What one process gives, and its gradient at the embeddings."""
    given = material(case)
    centers = ClassCenters(case.classes, case.dim, seed=case.seed)
    x = given["x"].to(dtype).requires_grad_()
    output = cluster_loss(x, given["labels"], given["weight"], centers, case.config, step=case.step)
    output.loss.backward()
    assert x.grad is not None
    return centers, output, x.grad


def assert_near(parts: list[torch.Tensor], exact: torch.Tensor) -> None:
    """To 1e-5 of the largest entry: float32 has 6e-8 of a cosine, which s = 64 makes 4e-6 of a gradient."""
    atol = 1e-5 * exact.abs().max().item()
    torch.testing.assert_close(torch.cat(parts).double(), exact.double(), rtol=1e-5, atol=atol)


@pytest.mark.parametrize("world", [1, 2, 3])
@pytest.mark.parametrize("name", CASES)
def test_ranks_together_are_one_process(folder: Path, name: str, world: int) -> None:
    case, given = CASES[name], material(CASES[name])
    centers, output, _ = alone(case, torch.float32)
    found = [load_file(folder / f"{name}-{world}-{rank}.safetensors") for rank in range(world)]

    places = [rank["place"].tolist() for rank in found]
    assert [place[0] for place in places] == [0, *(place[1] for place in places[:-1])]
    assert places[-1][1] == case.classes
    assert torch.equal(torch.cat([rank["weight"] for rank in found]), centers.weight)
    sample = centers.sample(case.config, given["labels"], step=case.step)
    assert torch.equal(torch.cat([rank["sample"] for rank in found]), sample)

    scale = world if case.mean_reduction else 1
    exact, _, x_grad = alone(case, torch.float64)
    assert exact.weight.grad is not None
    assert_near([rank["x"] for rank in found], x_grad * scale)
    assert_near([rank["grad"] for rank in found], exact.weight.grad.to_dense())
    if case.parts > 1:
        return
    for rank in found:
        assert torch.equal(rank["loss"], found[0]["loss"])
        torch.testing.assert_close(rank["loss"], output.loss.detach(), rtol=1e-5, atol=1e-6)
        for stat in STATS:
            torch.testing.assert_close(rank[f"stat.{stat}"], output.stats[stat], rtol=1e-5, atol=1e-6, equal_nan=True)


@pytest.mark.parametrize("world", [1, 2, 3])
def test_what_one_rank_finds_wrong_every_rank_says(folder: Path, world: int) -> None:
    for rank in range(world):
        label, feature = json.loads((folder / f"said-{world}-{rank}.json").read_text())
        assert label.startswith("Label 10 does not fit a bank of 10 classes")
        assert "not finite" in feature
