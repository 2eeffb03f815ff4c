"""The ranks of `test_sharded`: `python sharding.py FOLDER`. Every case of FOLDER in worlds of 3, 2 and 1.

The ranks are forked from one process that has imported torch and used nothing of it: importing is most of their time.
"""

import json
import multiprocessing
import multiprocessing.connection
import sys
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist
from safetensors.torch import load_file, save_file

from rice_core.errors import UserError
from rice_core.rice.loss.centers import ClassCenters
from rice_core.rice.loss.cluster import cluster_loss
from rice_core.rice.loss.config import LossConfig


def run(folder: Path, name: str, case: dict[str, Any], group: Any, rank: int, world: int) -> None:
    """Score this rank's share of the regions, in as many micro-batches as the case asks for, and keep what came out."""
    centers = ClassCenters(case["classes"], case["dim"], group=group, seed=case["seed"])
    given = load_file(folder / f"{name}.safetensors")
    bounds = case["bounds"][str(world)]
    mine = slice(bounds[rank], bounds[rank + 1])
    x_RD = given["x"][mine].requires_grad_()
    total = given["total"] if case["parts"] > 1 else None
    for rows in torch.arange(len(x_RD)).tensor_split(case["parts"]):
        output = cluster_loss(
            x_RD[rows],
            given["labels"][mine][rows],
            given["weight"][mine][rows],
            centers,
            LossConfig.model_validate(case["config"]),
            step=case["step"],
            mean_reduction=case["mean_reduction"],
            weight_total=total,
        )
        output.loss.backward()
    assert x_RD.grad is not None
    assert centers.weight.grad is not None
    found = {
        "x": x_RD.grad,
        "grad": centers.weight.grad.to_dense(),
        "weight": centers.weight.detach(),
        "sample": centers.sample(LossConfig.model_validate(case["config"]), given["labels"], step=case["step"])
        + centers.start,
        "loss": output.loss.detach(),
        "place": torch.tensor([centers.start, centers.stop]),
        **{f"stat.{key}": value for key, value in output.stats.items()},
    }
    save_file(found, folder / f"{name}-{world}-{rank}.safetensors")


def complain(folder: Path, group: Any, rank: int, world: int) -> None:
    """The first rank has an impossible label, then the last one a feature that is not finite: all have to say so."""
    centers = ClassCenters(10, 4, group=group)
    said = []
    for at_fault, label, feature in ((0, 10, 0.0), (world - 1, 3, float("nan"))):
        here = rank == at_fault
        try:
            x_RD = torch.full((1, 4), feature if here else 1.0)
            labels_RM = torch.full((1, 1), label if here else 2)
            cluster_loss(x_RD, labels_RM, torch.ones(1), centers, LossConfig(), step=0)
        except UserError as error:
            said.append(str(error))
    (folder / f"said-{world}-{rank}.json").write_text(json.dumps(said))


def work(folder: Path, rank: int) -> None:
    torch.set_num_threads(1)
    dist.init_process_group("gloo", init_method=f"file://{folder / 'meet'}", rank=rank, world_size=3)
    two, one = dist.new_group([0, 1]), dist.new_group([0])
    cases = json.loads((folder / "cases.json").read_text())
    for group, world in ((None, 3), (two, 2), (one, 1)):
        if rank < world:
            for name, case in cases.items():
                run(folder, name, case, group, rank, world)
            complain(folder, group, rank, world)
    dist.barrier()
    dist.destroy_process_group()


def main(folder: Path) -> int:
    """0 if every rank ended well; one that fails ends the others, which would wait for it."""
    fork = multiprocessing.get_context("fork")
    ranks = [fork.Process(target=work, args=(folder, rank), daemon=True) for rank in range(3)]
    for rank in ranks:
        rank.start()
    waiting = {rank.sentinel: rank for rank in ranks}
    while waiting:
        for ended in multiprocessing.connection.wait(list(waiting)):
            rank = waiting.pop(ended)  # type: ignore[call-overload]
            rank.join()
            if rank.exitcode:
                return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1])))
