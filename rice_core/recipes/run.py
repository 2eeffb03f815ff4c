"""Run a study: draw, curate, train, name, probe. Every stage is recognised when finished, so the same command resumes.

Trainings run as processes of their own, `jobs` side by side; one that is killed takes nothing with it but its last steps.
"""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from dataclasses import dataclass
from pathlib import Path

from rice_core.config import build_probes
from rice_core.curate.settings import CurateSettings
from rice_core.digest import file_digest, json_digest
from rice_core.errors import UserError
from rice_core.files import write_atomically
from rice_core.progress import Progress
from rice_core.recipes.study import Study, replicate, training_digest
from rice_core.regions import MANIFEST, read_region_manifest
from rice_core.run import Plan, Runner, Settings, Summary
from rice_core.spec import EncoderSpec, ProbeRequest
from rice_core.store import Store
from rice_core.train.config import TrainConfig
from rice_core.train.metrics import HELD_OUT, MetricsLog
from rice_core.world.mini import draw, open_data, training_world


@dataclass(frozen=True)
class Workshop:
    """Where studies are made, and with how much."""

    store: Store
    progress: Progress
    device: str = "auto"
    jobs: int = 1
    """Trainings side by side."""
    launcher: tuple[str, ...] = (sys.executable,)
    """What runs `-m rice_core.cli train`: python, or torchrun with its options."""
    workers: int = 0
    """Processes that decode images, for each rank of a training."""

    def data(self, seed: int, scenes: int, curation: CurateSettings, centers: Path | None = None) -> Path:
        """The curated scenes of a replicate.

        Args:
            centers: curated scenes by whose centers these are labelled, as ones held out of a training.
        """
        from rice_core.curate import curate

        world = draw(
            training_world(seed, scenes=scenes), self.store.root / "worlds", workers=self.jobs, progress=self.progress
        )
        others = [] if centers is None else [centers.name]
        digest = json_digest([seed, scenes, curation.model_dump(mode="json"), *others])[:20]
        folder = self.store.root / "curated" / digest
        curate(world, folder, curation, progress=self.progress, workers=self.jobs, centers=centers)
        return folder

    def train(self, wanted: list[TrainConfig]) -> list[Path]:
        """The folders of finished trainings, in the order asked for; each distinct one is trained once.

        Raises:
            UserError: one failed; the others were finished first.
        """
        folders = [self._folder(config) for config in wanted]
        missing = {f: c for f, c in zip(folders, wanted, strict=True) if not _finished(f, c)}
        self.progress.begin(sum(sum(config.steps) for config in missing.values()), "training steps")
        failures: list[str] = []
        with ThreadPoolExecutor(self.jobs) as pool:
            running = {pool.submit(self._train_one, config, folder): folder for folder, config in missing.items()}
            for future in self._follow(running):
                error = future.exception()
                if error is not None:
                    failures.append(str(error))
        if failures:
            raise UserError(f"{len(failures)} of {len(missing)} trainings failed; the first: {failures[0]}")
        return folders

    def _folder(self, config: TrainConfig) -> Path:
        return self.store.root / "trained" / training_digest(config, file_digest(config.data.path / MANIFEST))

    def _train_one(self, config: TrainConfig, folder: Path) -> None:
        path = folder.parent / f"{folder.name}.json"
        # Studies that share a training call it by different names.
        config = config.model_copy(update={"name": folder.name, "tags": {}})
        write_atomically(path, config.placed(Path.cwd()).model_dump_json(indent=2).encode())
        command = [*self.launcher, "-m", "rice_core.cli", "train", str(path), "--out", str(folder), "--quiet"]
        # On a CPU one thread, because sums in another order give other weights.
        threads = {"OMP_NUM_THREADS": "1"} if self.device == "cpu" else {}
        done = subprocess.run(
            [*command, "--device", self.device, "--workers", str(self.workers)],
            capture_output=True,
            text=True,
            check=False,
            env=os.environ | threads,
        )
        if done.returncode:
            raise UserError(f"{config.name}: {_reason(done.stderr.strip() or done.stdout.strip())}")

    def _follow(self, running: dict[Future[None], Path]) -> Iterator[Future[None]]:
        """Finished trainings as they come; in between, the steps that the others have made."""
        left = set(running)
        while left:
            done, left = wait(left, timeout=2.0, return_when=FIRST_COMPLETED)
            self.progress.reach(sum(_steps_made(folder) for folder in running.values()))
            for future in done:
                self.progress.say(
                    f"trained {running[future].name}" if not future.exception() else f"{future.exception()}"
                )
                yield future


def run_study(study: Study, workshop: Workshop, settings: Settings) -> Summary:
    """Train and probe every arm and seed of a study; the records say which study they belong to.

    Raises:
        UserError: a training failed, or a probe or data set is not known.
    """
    judges = [
        (open_data(name, workshop.store.root / "worlds"), build_probes(tuple(map(ProbeRequest.parse, probes))))
        for name, probes in study.probes.items()
    ]
    jobs = [(arm, seed) for seed in study.seeds for arm in study.arms]
    data: dict[tuple[int, CurateSettings | None], Path] = {
        (seed, settings): workshop.data(seed, study.scenes, settings)
        for seed, settings in dict.fromkeys((seed, arm.curation) for arm, seed in jobs)
        if settings is not None
    }
    configs = {
        (arm.label, seed): replicate(arm.config, seed, data.get((seed, arm.curation), arm.config.data.path))
        for arm, seed in jobs
    }
    trained = [(arm, seed) for arm, seed in jobs if arm.trained]
    folders = workshop.train([configs[arm.label, seed] for arm, seed in trained])
    made = {(arm.label, seed): folder for (arm, seed), folder in zip(trained, folders, strict=True)}
    summary = Summary()
    for seed in study.seeds:
        specs = []
        for arm in study.arms:
            config = configs[arm.label, seed]
            target = workshop.store.root / study.folder(arm, seed)
            _name_encoder(target, made.get((arm.label, seed)), config, study.facts(arm, seed))
            specs.append(EncoderSpec(name=f"{arm.label} #{seed}", source="rice", model=str(target)))
        for dataset, probes in judges:
            plan = Plan(tuple(specs), probes, dataset, seeds=(seed,))
            found = Runner(workshop.store, settings, workshop.progress).run(plan)
            summary.records += found.records
            summary.counts += found.counts
            summary.errors += found.errors
    return summary


def _name_encoder(target: Path, trained: Path | None, config: TrainConfig, facts: dict[str, str]) -> None:
    """Write an arm's encoder with its place in the study; the trunk's initial weights where it was not trained."""
    from rice_core.encoders.rice import CONFIG, WEIGHTS, RiceFile, save_rice

    if trained is None:
        from rice_core.train.start import initial_trunk

        save_rice(
            target,
            initial_trunk(config, read_region_manifest(config.data.path)),
            tags={"objective": "none: weights as drawn", **facts},
            mean=config.mean,
            std=config.std,
        )
        return
    about = RiceFile.model_validate_json((trained / "encoder" / CONFIG).read_bytes())
    about = about.model_copy(update={"tags": about.tags | facts})
    write_atomically(target / WEIGHTS, (trained / "encoder" / WEIGHTS).read_bytes())
    write_atomically(target / CONFIG, (about.model_dump_json(indent=2) + "\n").encode())


def _reason(said: str) -> str:
    """Our own last sentence, above which a traceback and below which a launcher's may stand; else the last line."""
    lines = said.splitlines() or ["no message"]
    own = [line.removeprefix("ricebench: ") for line in lines if line.startswith("ricebench: ")]
    return (own or lines)[-1]


def _finished(folder: Path, config: TrainConfig) -> bool:
    """Trained, and measured on held-out images where that is asked for."""
    trained = (folder / "encoder" / "encoder.json").is_file()
    return trained and (config.validation is None or bool(held_out_of(folder, config)))


def held_out_of(folder: Path, config: TrainConfig) -> dict[str, float]:
    """What a training came to on its held-out images; nothing where it was not measured on them."""
    if config.validation is None:
        return {}
    wanted = {"step": sum(config.steps), HELD_OUT: file_digest(config.validation.path / MANIFEST)}
    rows = [row for row in MetricsLog(folder).rows() if row | wanted == row]
    return {key: value for row in rows for key, value in row.items() if key.startswith("val/") and value is not None}


def _steps_made(folder: Path) -> int:
    rows = MetricsLog(folder).rows()
    return int(rows[-1].get("step", 0)) if rows else 0
