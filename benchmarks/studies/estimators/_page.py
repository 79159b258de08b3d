"""What is shown: one section for a problem, and the findings over all of them."""

from __future__ import annotations

from benchmarks.report.figures import shade
from benchmarks.settings import Settings
from benchmarks.shown import NOTHING, Cell, Column, Figure, Formula, Part, Section, Table, num
from benchmarks.studies.estimators import _figures as figures, _findings as findings
from benchmarks.studies.estimators._rows import Cells, Part as OfProblem, Row, collect
from benchmarks.studies.estimators.methods import METHODS
from benchmarks.study import Records
from benchmarks.words import number

FLAG = (
    "Distance between the mean of many independent calls and the reference, in standard errors (those of the reference included, "
    "and a floor for the rounding of 32-bit floats): the largest over the coordinates. It is flagged above {threshold:.1f}, a "
    "limit that a report without any bias passes in 99 of 100 runs (Bonferroni over all coordinates of all cells). *Declared* "
    "means that the library says so itself."
)


def sections(records: Records, settings: Settings) -> list[Section]:
    """The overview, what was found, and a section for each problem."""
    del settings
    cells = collect(records)
    shown = [_problem(part, cells) for part in cells.parts]
    if not cells.measured:
        return shown
    found = Section("found", "What was found", findings.findings(cells))
    if not any(part.base and part.base.noisy for part in cells.parts):
        return [found, *shown]
    alt = "Variance times time of each method relative to the plain score function, for each problem"
    about = (
        "Variance × time of every estimator on every problem, in units of the score function without a baseline: what a second of "
        "computing buys. Estimators with a declared bias are left out; an exact one, where there is one, has no variance."
    )
    overview = Figure("overview", alt, lambda theme: figures.overview(cells, theme))
    return [Section("overview", "Every estimator on every problem", [about, overview], first=True), found, *shown]


def _problem(part: OfProblem, cells: Cells) -> Section:
    problem = part.problem
    facts = [f"S = {problem.num_draws} draws in one call. Reference: {part.reference}."]
    facts += [f"{name[0].upper()}{name[1:]}: {number(value)}." for name, value in part.facts.items()]
    parts: list[Part] = [Formula(problem.formula), problem.about, " ".join(facts)]
    if part.measured:
        alt = f"Estimates, variance per draw, and variance times time of each method on: {problem.title}"
        parts.append(Figure(problem.name, alt, lambda theme: figures.problem(part, theme)))
    parts.append(_table(part, cells))
    if part.curves:
        assert problem.curve is not None
        parts += [f"*{problem.curve.title}.* {problem.curve.about}"]
        parts += [Figure(f"{problem.name}-curve", problem.curve.title, lambda theme: figures.curves(part, theme))]
    return Section(problem.name, problem.title, parts)


def _table(part: OfProblem, cells: Cells) -> Table:
    columns = (
        Column("estimator"),
        Column("bias z|(largest)", FLAG.format(threshold=cells.threshold)),
        Column(
            "variance per draw|(mean over coordinates)",
            "Variance of one call times its number S of draws, averaged over the coordinates of the gradient, ± one standard error. "
            "The figures show two.",
        ),
        Column("in theory", "The same, worked out without sampling, where a formula exists."),
        Column("calls of f|per gradient", "S, or the points of the support, for each expectation in it."),
        Column("µs per|gradient", "Median time of a compiled call, dispatch included, until its result is ready."),
        Column(
            "first call|(seconds)",
            "A fresh jit: tracing, compilation and the first run, while another function is compiled.",
        ),
        Column(
            "call variance|× µs",
            "Variance of one call times its time. Half of it means the same precision in half the time.",
            best=True,
        ),
    )
    rows = [_cells(row, cells) for row in part.measured]
    left_out = {row.method.label: row.why for row in part.rows if not row.ok}
    return Table(part.problem.name, part.problem.title, columns, rows, left_out)


def _cells(row: Row, cells: Cells) -> list[Cell]:
    flag = ("declared" if row.method.biased else "biased") if cells.flagged(row) else ""
    return [
        Cell(row.method.label, shade=shade(list(METHODS).index(row.method.name))),
        num(row.z, 2 if row.z < 100 else 3, mark=flag),
        num(row.variance, error=row.variance_error),
        NOTHING if row.variance_known is None else num(row.variance_known),
        num(row.evaluations) if row.evaluations >= 100_000 else Cell(str(row.evaluations), float(row.evaluations)),
        num(row.microseconds),
        num(row.first_seconds, 2),
        num(row.work),
    ]
