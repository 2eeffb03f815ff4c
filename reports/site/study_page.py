"""One page a study: its tables, its pictures, every replicate, and the paper's own table apart."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace

from reports.render import to_tidy_csv
from reports.site.pen import PageLink, Pen, Printed, Track
from reports.study import Control, Measure, Study, metric_table, paper_table, replicates_table, studies, study_table
from reports.study.lines import levels, lines
from reports.tidy import ArmNumber, metric_numbers
from rice_core.record import Record


@dataclass(frozen=True)
class MeasureView:
    """One probe of a control."""

    key: str
    title: str
    about: str
    tables: tuple[Printed, ...]


@dataclass(frozen=True)
class ControlView:
    """The arms trained under the same terms."""

    key: str
    title: str
    overview: Printed
    figure: str
    """Path of the picture, or empty where no number is there to draw."""
    alt: str
    caption: str
    measures: tuple[MeasureView, ...]
    replicates: Printed


def write_studies(pen: Pen, records: Iterable[Record], track: Track) -> list[PageLink]:
    """Write a page for every study of the records; returns links for the first page."""
    return [_write(pen, study) for study in track(studies(records), "studies")]


def _write(pen: Pen, study: Study) -> PageLink:
    views = [_control(pen, study, number) for number in range(len(study.controls))]
    path, paper = f"studies/{study.key}.html", paper_table(study)
    # Two scales of one study have a page each, and each page its own downloads.
    printed = pen.table(replace(paper, key=f"{paper.key}-{study.key}")) if paper else None
    pen.page(path, "study.html.j2", study=study, controls=views, paper=printed)
    arms = len({arm.label for control in study.controls for arm in control.arms})
    seeds = len({seed for control in study.controls for seed in control.seeds})
    return PageLink(study.title, path, f"{arms} arm{'s' * (arms != 1)}, {seeds} training seed{'s' * (seeds != 1)}")


def _control(pen: Pen, study: Study, number: int) -> ControlView:
    control = study.controls[number]
    heads = [row for m in control.measures for row in metric_numbers(study, control, m, m.columns[0])]
    figure = f"figures/study-{study.key}-{number}.png"
    drawn = _picture(control)
    if drawn is not None:
        pen.file(figure, drawn)
    line = f"over {control.axis}" if control.axis else "side by side"
    return ControlView(
        key=f"control-{number}",
        title=control.name or "All arms",
        overview=pen.table(study_table(study, control), csv=to_tidy_csv(ArmNumber, heads)),
        figure=figure if drawn is not None else "",
        alt=f"{study.title}, {control.name}: {', '.join(arm.label for arm in control.arms)} {line}",
        caption="A ring is one training, a dot the mean of an arm, a bar its 95 % interval over trainings (cut off where it"
        " leaves the panel; none for a single training). A hollow dot lacks trainings. Gray: yardsticks.",
        measures=tuple(_measure(pen, study, control, measure, number) for measure in control.measures),
        replicates=pen.table(replicates_table(study, control)),
    )


def _measure(pen: Pen, study: Study, control: Control, measure: Measure, number: int) -> MeasureView:
    group = measure.group
    settings = f" Settings: {group.settings}." if group.settings else ""
    tables = tuple(
        pen.table(
            metric_table(study, control, measure, column),
            csv=to_tidy_csv(ArmNumber, metric_numbers(study, control, measure, column)),
        )
        for column in measure.columns
    )
    return MeasureView(f"measure-{number}-{group.key[:6]}", measure.name, f"{group.title}.{settings}", tables)


def _picture(control: Control) -> bytes | None:
    """The headline of every probe, a panel each; None where there is nothing to draw."""
    from reports.figures import Panel, Point, study_figure

    panels = []
    for measure in control.measures:
        column = measure.columns[0]
        points = tuple(
            Point(
                label=line.arm.label,
                value=line.arm.value,
                mean=line.mean.value,
                ci95=line.mean.ci95,
                dots=tuple(line.values.values()),
                yardstick=line.arm.yardstick,
                partial=line.partial,
            )
            for line in lines(control, measure, column)
        )
        if points:
            panels.append(Panel(f"{measure.name}: {column.label}", column.unit, points, **levels(measure, column)))
    return study_figure(panels, axis=control.axis) if panels else None
