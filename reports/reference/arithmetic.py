"""Averages, rows of gains, twin tables and shared defaults, derived again from the cells."""

from __future__ import annotations

from collections.abc import Mapping
from decimal import Decimal
from itertools import combinations
from statistics import median

from reports.reference.finding import Finding, Verdict, half_step, judge, rounded
from reports.reference.paper import Average, PaperGain, PrintedTable


def average_findings(table: PrintedTable) -> list[Finding]:
    """One finding a printed average, and one for the column where other divisors than the stated ones were used."""
    out: list[Finding] = []
    for average in table.averages:
        used = fitting_divisors(table, average)
        if used != average.divisors:
            out.append(_other_divisors(table, average, used))
        for row in table.rows:
            printed, (derived, slack) = table.printed(row.key, average.column), _mean(table, average, row.key, used)
            verdict = judge(printed, derived, slack=slack)
            label = table.column(average.column).label
            says = f"{label} of {row.label} is printed as {printed}; the mean of its columns is {derived:.3f}."
            where, cell = f"{row.key}/{average.column}", ((row.key, average.column),)
            out.append(Finding(table.id, where, printed, f"{derived:.3f}", verdict, says, cell))
    return out


def fitting_divisors(table: PrintedTable, average: Average) -> Mapping[str, int]:
    """The divisors that reproduce most rows: the stated ones, or those with one of them solved for.

    For each stated divisor in turn, every row gives the value that would make its average exact; the median, rounded
    to a whole number, is the candidate. The stated divisors win a tie.
    """
    candidates = [average.divisors, *(_solved(table, average, column) for column in average.divisors)]
    return max(candidates, key=lambda divisors: _rows_that_fit(table, average, divisors))


def _solved(table: PrintedTable, average: Average, column: str) -> dict[str, int]:
    implied = []
    for row in table.rows:
        others = Average(
            column=average.column,
            of=tuple(key for key in average.of if key != column),
            divisors=average.divisors,
            stated_in="",
        )
        rest = _mean(table, others, row.key, average.divisors)[0] * len(others.of)
        share = table.exact(row.key, average.column) * len(average.of) - rest
        if share > 0:
            implied.append(table.exact(row.key, column) / share)
    solved = max(1, round(median(implied))) if implied else average.divisors[column]
    return {**average.divisors, column: solved}


def _rows_that_fit(table: PrintedTable, average: Average, divisors: Mapping[str, int]) -> int:
    fits = 0
    for row in table.rows:
        derived, slack = _mean(table, average, row.key, divisors)
        fits += judge(table.printed(row.key, average.column), derived, slack=slack) != "disagrees"
    return fits


def _mean(table: PrintedTable, average: Average, row: str, divisors: Mapping[str, int]) -> tuple[Decimal, Decimal]:
    """The mean of the printed cells, and how far the rounding of those cells can move it."""
    terms = [table.exact(row, key) / divisors.get(key, 1) for key in average.of]
    steps = [half_step(table.printed(row, key)) / divisors.get(key, 1) for key in average.of]
    return sum(terms, Decimal(0)) / len(terms), sum(steps, Decimal(0)) / len(steps)


def _other_divisors(table: PrintedTable, average: Average, used: Mapping[str, int]) -> Finding:
    changed = next(key for key in used if used[key] != average.divisors[key])
    label, name = table.column(average.column).label, table.column(changed).label
    n = len(table.rows)
    stated, found = average.divisors[changed], used[changed]
    fits_stated, fits_found = (_rows_that_fit(table, average, divisors) for divisors in (average.divisors, used))
    gap_stated, gap_found = (_largest_gap(table, average, divisors) for divisors in (average.divisors, used))
    return Finding(
        table=table.id,
        where=f"*/{average.column}",
        printed=f"{name} / {stated}",
        derived=f"{name} / {found}",
        verdict="disagrees",
        sentence=f"{label} was made with {name} / {found}, not / {stated} as the {average.stated_in} says: / {found} gives"
        f" {fits_found} of {n} rows (largest gap {gap_found:.3f}), / {stated} gives {fits_stated} (largest gap"
        f" {gap_stated:.2f}).",
    )


def _largest_gap(table: PrintedTable, average: Average, divisors: Mapping[str, int]) -> Decimal:
    """Over the rows that fit; over all rows where none does. One misprinted cell should not hide how well the rest fits."""
    gaps, fitting = [], []
    for row in table.rows:
        derived, slack = _mean(table, average, row.key, divisors)
        gaps.append(abs(table.exact(row.key, average.column) - derived))
        if judge(table.printed(row.key, average.column), derived, slack=slack) != "disagrees":
            fitting.append(gaps[-1])
    return max(fitting or gaps)


def placed(table: PrintedTable, gain: PaperGain) -> dict[str, str]:
    """Column key -> printed gain. Blank cells left no trace in print, so the columns are inferred where some are blank:
    the placement, in order, with the smallest total gap to the differences of the cells."""
    differences = {c.key: _difference(table, gain.row, gain.against, c.key) for c in table.columns}
    cells = [(key, value) for key, value in differences.items() if value is not None]
    printed = [Decimal(text) for text in gain.printed]

    def misfit(columns: tuple[int, ...]) -> Decimal:
        return sum((abs(number - cells[j][1]) for number, j in zip(printed, columns, strict=True)), Decimal(0))

    best = min(combinations(range(len(cells)), len(printed)), key=misfit)
    return {cells[j][0]: text for j, text in zip(best, gain.printed, strict=True)}


def gain_findings(table: PrintedTable) -> list[Finding]:
    """One finding a printed gain and average of gains, and one where a row of gains leaves out the losses."""
    return [finding for gain in table.gains for finding in _gain(table, gain)]


def _gain(table: PrintedTable, gain: PaperGain) -> list[Finding]:
    out = []
    places = placed(table, gain)
    for key, printed in places.items():
        exact = _difference(table, gain.row, gain.against, key) or Decimal(0)
        slack = half_step(table.printed(gain.row, key)) + half_step(table.printed(gain.against, key))
        derived, verdict = rounded(exact, printed, sign=True), judge(printed, exact, slack=slack)
        says = f"{gain.label}: {table.column(key).label} is printed as {printed}; the cells give {derived}."
        where = f"gain: {gain.label}/{key}"
        out.append(Finding(table.id, where, printed, derived, verdict, says, ((gain.row, key),)))
    if gain.average:
        mean = sum(map(Decimal, gain.printed), Decimal(0)) / len(gain.printed)
        slack = sum(map(half_step, gain.printed), Decimal(0)) / len(gain.printed)
        says = f"{gain.label}: the mean of the printed gains is {rounded(mean, gain.average, sign=True)}."
        verdict = judge(gain.average, mean, slack=slack)
        derived_mean = rounded(mean, gain.average, sign=True)
        out.append(Finding(table.id, f"gain: {gain.label}/*", gain.average, derived_mean, verdict, says))
    return out + _left_out(table, gain, places)


def _left_out(table: PrintedTable, gain: PaperGain, places: Mapping[str, str]) -> list[Finding]:
    differences = {c.key: _difference(table, gain.row, gain.against, c.key) for c in table.columns}
    rest = {key: value for key, value in differences.items() if value is not None and key not in places}
    if not rest:
        return []
    words = ", ".join(f"{table.column(key).label} {value:+}" for key, value in rest.items())
    losses = sum(value < 0 for value in rest.values())
    says = (
        f"{gain.label}: the row prints {len(places)} gains and leaves out {len(rest)} columns, {losses} of them losses"
    )
    printed, derived = f"{len(places)} gains", f"{len(places)} gains, {losses} losses"
    return [Finding(table.id, f"gain: {gain.label}/*", printed, derived, "suspect", f"{says} ({words}).")]


def _difference(table: PrintedTable, row: str, against: str, column: str) -> Decimal | None:
    ours, theirs = table.number(row, column), table.number(against, column)
    return None if ours is None or theirs is None else ours - theirs


def twin_findings(table: PrintedTable, original: PrintedTable) -> list[Finding]:
    """Cells that are not the original's, scaled and rounded; where all are, one finding says so. Averages apart."""
    averages = {average.column for average in original.averages}
    pairs = [(row, column) for row in table.rows if row.same_as for column in table.columns]
    out, agree = [], 0
    for row, column in pairs:
        source = original.number(row.same_as, column.key)
        if column.key in averages or source is None:
            continue
        printed, derived = table.printed(row.key, column.key), source / column.scale
        slack = half_step(original.printed(row.same_as, column.key)) / column.scale
        verdict = judge(printed, derived, slack=slack)
        agree += verdict != "disagrees"
        if verdict == "disagrees":
            says = f"{column.label} of {row.label} is {printed} here and {derived:.3f} in table {original.id}."
            where = f"{row.key}/{column.key}"
            cell = ((row.key, column.key),)
            out.append(Finding(table.id, where, printed, f"{derived:.3f}", verdict, says, cell))
    total = str(agree + len(out))
    says = f"{agree} of {total} cells are those of table {original.id}, scaled and rounded."
    out.append(Finding(table.id, "*/*", total, str(agree), "disagrees" if out else "agrees", says))
    return out + [_twin_average(table, original, key) for key in sorted(averages)]


def _twin_average(table: PrintedTable, original: PrintedTable, column: str) -> Finding:
    """Both print the average of the same cells, so the largest gap must be small: one step of the coarser print."""
    shared = [row for row in table.rows if row.same_as]
    worst = max(shared, key=lambda r: abs(table.exact(r.key, column) - original.exact(r.same_as, column)))
    here, there = table.printed(worst.key, column), original.printed(worst.same_as, column)
    slack = half_step(here) + half_step(there)
    label = table.column(column).label
    says = f"{label} differs from table {original.id} by up to {abs(Decimal(here) - Decimal(there))}"
    says += f" ({worst.label}: {here} here, {there} there)."
    verdict = judge(here, Decimal(there), slack=slack)
    return Finding(table.id, f"*/{column}", here, there, verdict, says, ((worst.key, column),))


def default_findings(tables: list[PrintedTable]) -> list[Finding]:
    """Ablations that share their default setting must print the same row for it."""
    shared = [table for table in tables if table.default_row]
    out = []
    for first, other in combinations(shared, 2):
        here, there = first.row(first.default_row), other.row(other.default_row)
        same = here.cells == there.cells
        says = f"{here.label} in table {first.id} and {there.label} in table {other.id} are the same run"
        says += " and print the same cells." if same else ", but their cells differ."
        cells = () if same else tuple((there.key, column.key) for column in other.columns)
        verdict: Verdict = "agrees" if same else "disagrees"
        out.append(
            Finding(other.id, f"{there.key}/*", " ".join(there.cells), " ".join(here.cells), verdict, says, cells)
        )
    return out
