"""What an audit found, to be printed, plotted, or read by a program."""

from __future__ import annotations

import dataclasses
import io
import math
from typing import Any

import numpy as np

from jax_scorefn.diagnostics._check import say
from jax_scorefn.diagnostics._moments import Moments
from jax_scorefn.diagnostics._plot import plot
from jax_scorefn.diagnostics._reference import Reference
from jax_scorefn.diagnostics._verdict import Judgement, Verdict, flat
from jax_scorefn.typing import Bias

UNKNOWN_ORDER = 'Estimators are ranked by "evaluations" or by "seconds", not by {given!r}.'

FEW = 3
"""So many reasons are told one by one."""
MISSING = "Not measured, for they do not fit ({count}; `missing` says why): {names}."
NEEDS_RICH = (
    "The table of an audit needs rich: pip install rich (the extra audit brings it). Without it there is to_dict()."
)
NEEDS_MATPLOTLIB = "The plot of an audit needs matplotlib: pip install matplotlib (the extra audit brings it)."
NOT_THERE = "{name}: {why}. Measured are: {found}."
NOTHING_GOOD = "No estimator passed the audit; see the verdicts: {verdicts}."
NOT_COMPARED = (
    "Nothing is recommended: the time was over before {default}, the default, was measured. Raise max_seconds."
)
_AS_TEXT: dict[str, Any] = {"width": 170, "highlight": False, "markup": False, "force_jupyter": False}
"""How rich writes a report. In a notebook it would otherwise display each line at once, whatever file it is given."""


@dataclasses.dataclass(frozen=True)
class Row:
    """One estimator in an audit.

    Attributes:
      name: its label.
      judgement: its bias, as measured; None if it failed.
      moments: of its gradient, a pytree like the parameters.
      cosine_moments: of the cosine between one gradient and the reference.
      evaluations: evaluations of f in one gradient, counted.
      seconds: median time of one compiled gradient.
      first_seconds: time of the first call, compilation included.
      declared: the bias that the registry declares for it; None for a function of one's own.
      orders: the order of derivative up to which it is right, as declared.
      cut: whether the time was over before all its replicates.
      failed: why it could not be run; None if it could.
    """

    name: str
    judgement: Judgement | None
    moments: Moments | None = None
    cosine_moments: Moments | None = None
    evaluations: int = 0
    seconds: float = math.nan
    first_seconds: float = math.nan
    declared: Bias | None = None
    orders: float = 1
    cut: bool = False
    failed: str | None = None

    @property
    def verdict(self) -> str:
        """A :class:`Verdict`, or "failed"."""
        return "failed" if self.judgement is None else self.judgement.verdict

    @property
    def message(self) -> str:
        """The verdict in a sentence."""
        return f"{self.name}: {self.failed}" if self.judgement is None else say(self.judgement, self.name)

    @property
    def z(self) -> float:
        """The largest |bias| in standard errors, with its sign."""
        if self.judgement is None or not self.judgement.z.size:
            return math.nan
        return float(self.judgement.z[np.argmax(np.abs(self.judgement.z))])

    def _flat(self, name: str) -> np.ndarray:
        return flat(getattr(self.moments, name))

    @property
    def variance(self) -> float:
        """Variance of one gradient, summed over the coordinates."""
        return math.nan if self.moments is None else float(self._flat("variance").sum())

    @property
    def variance_error(self) -> float:
        """Standard error of ``variance``, as if coordinates varied together (an upper bound)."""
        return math.nan if self.moments is None else float(self._flat("variance_standard_error").sum())

    @property
    def largest_variance(self) -> float:
        """Variance of the noisiest coordinate."""
        return math.nan if self.moments is None else float(self._flat("variance").max())

    @property
    def snr(self) -> float:
        """Norm of the mean gradient over the standard deviation of one."""
        if self.moments is None:
            return math.nan
        return float(np.linalg.norm(self._flat("mean")) / max(math.sqrt(self.variance), 1e-300))

    @property
    def cosine(self) -> float:
        """Mean cosine between one gradient and the reference."""
        return math.nan if self.cosine_moments is None else float(self.cosine_moments.mean)

    @property
    def nonfinite(self) -> int:
        """Replicates with a number that is not finite."""
        return 0 if self.moments is None else int(self._flat("nonfinite").max())

    def to_dict(self) -> dict[str, Any]:
        """Plain numbers and strings."""
        names = ("z", "variance", "variance_error", "largest_variance", "snr", "cosine", "nonfinite")
        return {
            "name": self.name, "verdict": str(self.verdict), "message": self.message,
            "declared": None if self.declared is None else str(self.declared), "evaluations": self.evaluations,
            "seconds": self.seconds, "first_seconds": self.first_seconds,
            "replicates": 0 if self.moments is None else int(self.moments.count),
            "variance_times_seconds": self.variance * self.seconds, "variance_times_evaluations": self.variance * self.evaluations,
            **{name: getattr(self, name) for name in names},
        }  # fmt: skip


@dataclasses.dataclass(frozen=True)
class AuditReport:
    """What :func:`audit` returns.

    Attributes:
      rows: one for each estimator that was measured, in the order of the audit.
      missing: estimators that were not, with what they need.
      reference: what all were held against.
      num_samples: draws in one call.
      seconds: how long the audit took.
      stopped: why it ended early; None if it did not.
      false_alarm: probability that any unbiased estimator is called biased.
      default: the label of ``score_function`` as it comes; None if it was not to be measured.
    """

    rows: tuple[Row, ...]
    missing: dict[str, str]
    reference: Reference
    num_samples: int
    seconds: float
    stopped: str | None
    false_alarm: float
    default: str | None = None

    def __getitem__(self, name: str) -> Row:
        """The row of an estimator."""
        found = {row.name: row for row in self.rows}
        if name not in found:
            raise KeyError(
                NOT_THERE.format(name=name, why=self.missing.get(name, "not in this audit"), found=", ".join(found))
            )
        return found[name]

    def ranked(self, by: str = "evaluations") -> list[Row]:
        """What passed and declares no bias, the least variance for its cost first: ``by`` "evaluations" of f or "seconds"."""
        if by not in ("evaluations", "seconds"):
            raise ValueError(UNKNOWN_ORDER.format(given=by))
        good = [row for row in self.rows if row.verdict == Verdict.UNBIASED and row.declared is not Bias.BIASED]
        return sorted(good, key=lambda row: row.variance * getattr(row, by))

    @property
    def _compared(self) -> bool:
        """Whether all that was measured can be compared with the default."""
        measured = {row.name for row in self.rows if row.judgement is not None}
        return self.stopped is None or self.default is None or self.default in measured

    @property
    def recommended(self) -> str | None:
        """The unbiased estimator with the least variance times evaluations of f; None if none passed.

        None, too, if the audit was stopped before the default could be measured: nothing was compared with it then. Where the
        measurement cannot tell several from the best one, it is the one among them that is right to the highest order.
        """
        ranked = self.ranked()
        if not ranked or not self._compared:
            return None
        best = ranked[0]

        def is_as_good(row: Row) -> bool:
            a, b = best.variance * best.evaluations, row.variance * row.evaluations
            return b - a <= 2 * math.hypot(best.variance_error * best.evaluations, row.variance_error * row.evaluations)

        return max((row for row in ranked if is_as_good(row)), key=lambda row: row.orders).name

    def num_samples_for(self, standard_error: float, name: str | None = None) -> int:
        """How many draws give every coordinate at most this standard error, by the recommended estimator or another."""
        name = name or self.recommended
        if name is None:
            raise ValueError(NOTHING_GOOD.format(verdicts=", ".join(f"{r.name} {r.verdict}" for r in self.rows)))
        needed = self.num_samples * self[name].largest_variance / standard_error**2
        return max(1, math.ceil(needed - 1e-9))

    def to_dict(self) -> dict[str, Any]:
        """Everything as plain numbers and strings, for json."""
        return {
            "recommended": self.recommended,
            "num_samples": self.num_samples,
            "reference": self.reference.how,
            "exact_points": self.reference.points,
            "seconds": self.seconds,
            "stopped": self.stopped,
            "rows": [row.to_dict() for row in self.rows],
            "missing": dict(self.missing),
        }

    def _table(self) -> Any:
        try:
            from rich.table import Table
        except ImportError as error:
            raise ImportError(NEEDS_RICH) from error
        table = Table(title=f"{self.num_samples} draws in each call; held against {self.reference.how}")
        for name in ("estimator", "verdict"):
            table.add_column(name)
        for name in (
            "z", "variance", "SNR", "cosine", "evaluations", "time", "first call", "variance x evaluations", "variance x time",
        ):  # fmt: skip
            table.add_column(name, justify="right")
        for row in sorted(self.rows, key=lambda row: (row.verdict != Verdict.UNBIASED, row.variance * row.evaluations)):
            style = "bold" if row.name == self.recommended else "dim" if row.verdict != Verdict.UNBIASED else ""
            if row.judgement is None:
                table.add_row(row.name, "failed", style=style)
                continue
            cells = (
                f"{row.z:.1f}", f"{row.variance:.3g} +- {row.variance_error:.1g}", f"{row.snr:.2f}", f"{row.cosine:.2f}",
                str(row.evaluations), f"{1e6 * row.seconds:.0f} us", f"{row.first_seconds:.2f} s",
                f"{row.variance * row.evaluations:.3g}", f"{row.variance * row.seconds:.2g} s",
            )  # fmt: skip
            table.add_row(row.name, str(row.verdict), *cells, style=style)
        return table

    def notes(self) -> list[str]:
        """What the table does not say."""
        lines = []
        if self.recommended is not None:
            lines.append(f"Recommended: {self.recommended}, the least variance for its evaluations of f.")
        else:
            lines.append("Nothing passed." if self._compared else NOT_COMPARED.format(default=self.default))
        if self.reference.points is not None:
            lines.append(f"exact is affordable here: {self.reference.points} evaluations of f, and no noise.")
        lines += [row.message for row in self.rows if row.verdict not in (Verdict.UNBIASED,)]
        if len(self.missing) > FEW:
            lines.append(MISSING.format(count=len(self.missing), names=", ".join(self.missing)))
        else:
            lines += [f"{name} {reason}." for name, reason in self.missing.items()]
        lines += [f"The audit was {self.stopped}."] if self.stopped else []
        if cut := [row.name for row in self.rows if row.cut]:
            lines.append(f"For lack of time there were fewer replicates of {', '.join(cut)}.")
        return lines

    def _print(self, console: Any) -> None:
        console.print(self._table())
        for line in self.notes():
            console.print(line)

    def __str__(self) -> str:
        """The table and the notes, as text; without rich a line for each estimator."""
        try:
            from rich.console import Console
        except ImportError:
            return "\n".join([row.message for row in self.rows] + self.notes())
        out = io.StringIO()
        self._print(Console(file=out, **_AS_TEXT))
        return out.getvalue()

    def _repr_html_(self) -> str:
        """The table and the notes, for a notebook."""
        from rich.console import Console

        console = Console(record=True, file=io.StringIO(), **_AS_TEXT)
        self._print(console)
        return console.export_html(inline_styles=True, code_format='<pre style="line-height:1.3">{code}</pre>')

    def plot(self) -> Any:
        """Variance against evaluations of f and against time, a matplotlib figure (see ``_plot``)."""
        try:
            return plot(self)
        except ImportError as error:
            raise ImportError(NEEDS_MATPLOTLIB) from error
