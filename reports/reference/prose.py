"""Sentences of the paper that hold a number or a ranking, held against the cells they speak of."""

from __future__ import annotations

import re
from decimal import Decimal

from reports.reference.finding import Finding, Verdict, half_step, judge, rounded
from reports.reference.paper import BestClaim, GainClaim, NameClaim, NumberClaim, PrintedTable


def prose_findings(table: PrintedTable) -> list[Finding]:
    """One finding a claim, and one more for each gain over a rival that is called, or taken for, the strongest."""
    out: list[Finding] = []
    for claim in table.claims:
        if isinstance(claim, NumberClaim):
            out.append(_number(table, claim))
        elif isinstance(claim, GainClaim):
            out += [_gain(table, claim), *_strongest(table, claim)]
        elif isinstance(claim, BestClaim):
            out.append(_best(table, claim))
        else:
            out.append(_name(table, claim))
    return out


def _number(table: PrintedTable, claim: NumberClaim) -> Finding:
    cell = table.printed(claim.row, claim.column)
    verdict: Verdict = "agrees" if Decimal(claim.printed) == table.number(claim.row, claim.column) else "disagrees"
    says = f'"{claim.sentence}": the table prints {cell}.'
    where = ((claim.row, claim.column),)
    return Finding(table.id, f"prose: {claim.key}", claim.printed, cell, verdict, says, where)


def _gain(table: PrintedTable, claim: GainClaim) -> Finding:
    ours, theirs = (table.exact(row, claim.column) for row in (claim.row, claim.against))
    slack = half_step(table.printed(claim.row, claim.column)) + half_step(table.printed(claim.against, claim.column))
    derived = rounded(ours - theirs, claim.printed, sign=True)
    says = f'"{claim.sentence}": {claim.printed} is printed; {ours} - {theirs} = {derived} ({claim.basis}).'
    verdict = judge(claim.printed, ours - theirs, slack=slack)
    where = ((claim.row, claim.column),)
    return Finding(table.id, f"prose: {claim.key}", claim.printed, derived, verdict, says, where)


def _strongest(table: PrintedTable, claim: GainClaim) -> list[Finding]:
    """Whether `against` is the strongest rival in this column: said so and wrong disagrees, implied and wrong is suspect."""
    if claim.strongest == "no":
        return []
    rivals = [row for row in table.rows if row.key != claim.row]
    best = max(rivals, key=lambda row: table.exact(row.key, claim.column))
    named, column = table.row(claim.against), table.column(claim.column)
    top, taken = table.exact(best.key, claim.column), table.exact(claim.against, claim.column)
    gain = rounded(table.exact(claim.row, claim.column) - top, claim.printed, sign=True)
    name = f"{column.group} {column.label}"
    verdict: Verdict = "agrees"
    says = f'"{claim.sentence}": {named.encoder} ({taken}) is the strongest rival in {name}.'
    if top > taken:
        verdict = "disagrees" if claim.strongest == "said" else "suspect"
        says = f'"{claim.sentence}": in {name} {best.encoder} ({top}) is stronger than {named.encoder} ({taken});'
        says += f" over it the gain is {gain}."
    where = f"prose: {claim.key}, strongest rival"
    return [Finding(table.id, where, named.encoder, best.encoder, verdict, says, ((best.key, claim.column),))]


def _best(table: PrintedTable, claim: BestClaim) -> Finding:
    columns = claim.columns or tuple(column.key for column in table.columns)
    rivals = claim.rivals or tuple(row.key for row in table.rows if row.key != claim.row)
    pairs = [(rival, column) for column in columns for rival in rivals if table.number(rival, column) is not None]
    lost = [pair for pair in pairs if table.exact(*pair) >= table.exact(claim.row, pair[1])]
    words = [
        f"{table.column(column).group} {table.column(column).label}: {table.row(rival).label} {table.printed(rival, column)},"
        f" {table.row(claim.row).label} {table.printed(claim.row, column)}"
        for rival, column in lost
    ]
    won = len(pairs) - len(lost)
    says = f'"{claim.sentence}": ahead in {won} of {len(pairs)} comparisons ({claim.basis})'
    says += f"; not in {'; '.join(words)}." if words else "."
    return Finding(
        table=table.id,
        where=f"prose: {claim.key}",
        printed=claim.wording,
        derived=f"{won} of {len(pairs)}",
        verdict=_ranking(claim.wording, won, len(pairs)),
        sentence=says,
        cells=() if claim.wording == "most" else tuple(lost),
    )


def _ranking(wording: str, won: int, of: int) -> Verdict:
    """`all` is refuted by one loss, `consistently` is put in doubt by one, `most` needs more than half."""
    if wording == "most":
        return "agrees" if 2 * won > of else "disagrees"
    if won == of:
        return "agrees"
    return "disagrees" if wording == "all" else "suspect"


def _name(table: PrintedTable, claim: NameClaim) -> Finding:
    """Text against text, the word for a benchmark aside. Two names may mean the same thing, so at worst suspect."""
    head = table.column(claim.column).group
    same = _bare(head) == _bare(claim.says)
    says = f'"{claim.sentence}": the columns are headed "{head}"'
    says += "." if same else f", which is not {claim.says}: check which data sets were meant."
    return Finding(table.id, f"prose: {claim.key}", claim.says, head, "agrees" if same else "suspect", says)


def _bare(name: str) -> str:
    return re.sub(r"\bbenchmarks?\b", "", name.lower()).strip()
