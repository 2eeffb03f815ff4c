"""Run a study: draw, curate, train, name, probe. Every stage is recognised when finished, so the same command resumes.

Trainings run as processes of their own, `jobs` side by side; one that is killed takes nothing with it but its last steps.
"""

from __future__ import annotations

import os
import subprocess
import sys
import time
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

from rice_core.digest import file_digest, json_digest
from rice_core.disk.files import held, write_atomically
from rice_core.errors import UserError
from rice_core.measure.claims import Claims
from rice_core.measure.config import build_probes
from rice_core.measure.data import open_data
from rice_core.measure.plan import Plan
from rice_core.measure.run import Runner, Settings
from rice_core.measure.summary import Summary
from rice_core.progress import Progress
from rice_core.rice.config import TrainConfig
from rice_core.rice.curate.settings import CurateSettings
from rice_core.rice.recipes.study import StudyPlan, replicate, training_digest
from rice_core.rice.regions import MANIFEST, read_region_manifest
from rice_core.spec import EncoderSpec, ProbeRequest
from rice_core.store import Store
from rice_core.train.metrics import HELD_OUT, MetricsLog
from rice_core.world.mini import draw, training_world


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
        from rice_core.rice.curate import curate

        others = [] if centers is None else [centers.name]
        digest = json_digest([seed, scenes, curation.model_dump(mode="json"), *others])[:20]
        folder = self.store.place("curated", digest)
        with self.claims.waited_for(digest, f"the training scenes of seed {seed}", self.progress.say):
            world = draw(
                training_world(seed, scenes=scenes),
                self.store.place("worlds"),
                workers=self.jobs,
                progress=self.progress,
            )
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
        failures = self._train_missing(missing)
        if failures:
            raise UserError(f"{len(failures)} of {len(missing)} trainings failed; the first: {failures[0]}")
        return folders

    @property
    def claims(self) -> Claims:
        """Of the store, where other runs may make the same study."""
        return Claims(self.store.root / "claims")

    def _train_missing(self, missing: dict[Path, TrainConfig]) -> list[str]:
        """Train side by side, first what no other run is training; returns what went wrong."""
        left, failures = dict(missing), []
        running: dict[Future[None], Path] = {}
        try:
            with ThreadPoolExecutor(self.jobs) as pool:
                while left or running:
                    while len(running) < self.jobs and (folder := self._claimed(list(left), wait=not running)):
                        running[pool.submit(self._train_alone, left.pop(folder), folder)] = folder
                    done, _ = wait(running, timeout=2.0, return_when=FIRST_COMPLETED)
                    self.progress.reach(sum(_steps_made(folder) for folder in missing))
                    for future in done:
                        error, folder = future.exception(), running.pop(future)
                        self.claims.give_back(folder.name)
                        self.progress.say(str(error) if error else f"trained {folder.name}")
                        failures += [str(error)] if error else []
        finally:  # after those that still ran have ended
            for folder in running.values():
                self.claims.give_back(folder.name)
        return failures

    def _claimed(self, folders: list[Path], *, wait: bool) -> Path | None:
        """One that this run may train now; None where other runs hold all, or nothing is left."""
        while folders:
            taken = (folder for folder in folders if self.claims.take(folder.name, f"training {folder.name}"))
            if (folder := next(taken, None)) is not None or not wait:
                return folder
            self.claims.first_free([[folder.name] for folder in folders], self.progress.say)
        return None

    def _folder(self, config: TrainConfig) -> Path:
        return self.store.place("trained", training_digest(config, file_digest(config.data.path / MANIFEST)))

    def _train_alone(self, config: TrainConfig, folder: Path) -> None:
        while _trained_into(folder):  # by what a killed run has left behind
            time.sleep(1)
        if not _finished(folder, config):  # by another run meanwhile
            self._train_one(config, folder)

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


def run_study(study: StudyPlan, workshop: Workshop, settings: Settings) -> Summary:
    """Train and probe every arm and seed of a study; the records say which study they belong to.

    Raises:
        UserError: a training failed, or a probe or data set is not known.
    """
    judges = {name: build_probes(tuple(map(ProbeRequest.parse, probes))) for name, probes in study.probes.items()}
    judged = {name: open_data(name, workshop.store.place("worlds")) for name in judges}
    pairs = tuple((probe, judged[name]) for name, probes in judges.items() for probe in probes)
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
            target = workshop.store.place(*study.folder(arm, seed).parts)
            _name_encoder(target, made.get((arm.label, seed)), config, study.facts(arm, seed))
            specs.append(EncoderSpec(name=f"{arm.label} #{seed}", source="rice", model=str(target)))
        plan = Plan(tuple(specs), pairs, seeds=(seed,))
        found = Runner(workshop.store, settings, workshop.progress).run(plan)
        summary.records += found.records
        summary.counts += found.counts
        summary.errors += found.errors
    return summary


def _name_encoder(target: Path, trained: Path | None, config: TrainConfig, facts: dict[str, str]) -> None:
    """Write an arm's encoder with its place in the study; the trunk's initial weights where it was not trained."""
    from rice_core.encoders.rice import CONFIG, WEIGHTS, RiceFile, save_rice

    if trained is None:
        from rice_core.rice.start import initial_trunk

        # Another run may be reading the files of before.
        with TemporaryDirectory() as draft:
            save_rice(
                Path(draft),
                initial_trunk(config, read_region_manifest(config.data.path)),
                tags={"objective": "none: weights as drawn", **facts},
                mean=config.mean,
                std=config.std,
            )
            for name in (WEIGHTS, CONFIG):
                write_atomically(target / name, (Path(draft) / name).read_bytes())
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


def _trained_into(folder: Path) -> bool:
    """Whether a process trains into the folder now."""
    if not (folder / ".lock").is_file():
        return False
    with held(folder / ".lock") as free:
        return not free


def _finished(folder: Path, config: TrainConfig) -> bool:
    """Trained under this name, and measured on held-out images where that is asked for."""
    from rice_core.encoders.rice import CONFIG, RiceFile

    try:
        tags = RiceFile.model_validate_json((folder / "encoder" / CONFIG).read_bytes()).tags
    except (OSError, ValueError):
        return False
    trained = tags.get("training") == folder.name  # a training of other settings may have been put in its place
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
