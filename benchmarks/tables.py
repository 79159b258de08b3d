"""The tables in the terminal: one for each problem, the columns of the report."""

from __future__ import annotations

from rich import box
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from benchmarks.discrete import VAE
from benchmarks.results import Results, Row, Section
from benchmarks.words import number, times, with_error


def show(console: Console, results: Results) -> None:
    """Print every section."""
    for section in results.sections:
        console.print()
        console.print(_table(section, results))
    _speed(console, results)
    _credit(console, results)
    _control(console, results)
    _discrete(console, results)
    if not results.sections:
        return
    console.print(
        f"[dim]flag: |z| above {results.threshold:.1f} (Bonferroni over every coordinate of this report, 1 %). "
        "Variances are averaged over the coordinates; per draw is S times that of one call.[/dim]"
    )


def _table(section: Section, results: Results) -> Table:
    problem = section.problem
    facts = "   ".join(f"{name} {number(value)}" for name, value in section.facts.items())
    table = Table(
        title=f"[bold]{escape(problem.title)}[/bold]  [dim]{problem.name}, S = {problem.num_draws}[/dim]",
        caption=escape(problem.formula + (f"   [{facts}]" if facts else "")),
        box=box.SIMPLE_HEAD,
        title_justify="left",
        caption_justify="left",
    )
    table.add_column("estimator", no_wrap=True)
    for name in (
        "bias z\nmax over coords",
        "variance per draw\nmean over coords",
        "theory",
        "f evals\nper gradient",
        "µs per\ngradient",
        "first call\ns",
        "variance\n× µs",
    ):
        table.add_column(name, justify="right", no_wrap=True)
    for row in section.rows:
        if row.ok:
            table.add_row(row.method.label, *_cells(row, results))
    for row in section.rows:
        if not row.ok:
            table.add_row(f"[dim]{row.method.label}[/dim]", *["[dim]—[/dim]"] * 7)
            table.caption = f"{table.caption}\n— {escape(row.method.label)}: {escape(row.reason)}"
    return table


def _cells(row: Row, results: Results) -> tuple[str, ...]:
    z = number(row.z, 2) if row.z < 100 else number(row.z)
    if results.flagged(row):
        z = f"[yellow]{z} declared[/yellow]" if row.declared else f"[bold red]{z} BIASED[/bold red]"
    return (
        z,
        with_error(row.variance, row.variance_error),
        "" if row.variance_known is None else number(row.variance_known),
        number(row.evaluations) if row.evaluations >= 1e5 else str(row.evaluations),
        number(row.microseconds),
        number(row.first_seconds, 2),
        number(row.work),
    )


def _speed(console: Console, results: Results) -> None:
    speed = results.speed
    if not speed:
        return
    table = _simple("Time of a gradient, × ours", "workload", "µs, ours", *speed.systems, "apart (z)")
    for record in speed.records:
        found = [record["systems"].get(system) for system in speed.systems]
        ratios = ["—" if row is None else number(row["ratio"], 3) for row in found]
        apart = max(row["apart"] for row in found if row is not None)
        table.add_row(record["problem"], number(record["microseconds"]), *ratios, number(apart, 2))
    console.print(table)
    for name, why in speed.failed.items():
        console.print(f"{name} was not measured: {why}", markup=False)


def _credit(console: Console, results: Results) -> None:
    credit = results.credit
    if credit.plates:
        table = _simple(
            "Plates of n pairs: summed variance of one run's gradient",
            "pairs",
            "charged with what depends",
            "with all",
            "times less",
        )
        for row in credit.plates:
            table.add_row(str(row["size"]), number(row["variance"]), number(row["usual"]), times(row["ratio"]))
        console.print(table)
    if credit.costs:
        table = _simple("Cost against the same estimator by hand", "program", "µs", "run", "95 %", "tracing")
        for row in credit.costs:
            interval = f"{row['ratio_low']:.2f} – {row['ratio_high']:.2f}"
            table.add_row(
                row["problem"],
                number(row["microseconds"]),
                f"{row['ratio']:.2f}",
                interval,
                f"{row['trace_ratio']:.2f}",
            )
        console.print(table)
    if credit.peers:
        table = _simple(
            "Other systems", "program", "system", "variance of one run", "× ours", "µs", "× ours", "apart (z)"
        )
        for name, rows in credit.peers.items():
            for row in rows:
                table.add_row(
                    name if row.is_ours else "", row.system, with_error(row.data["variance"], row.data["variance_error"]),
                    number(row.noise, 2), number(row.data["microseconds"]), number(row.slowness, 2),
                    "" if row.is_ours else number(row.apart, 2),
                )  # fmt: skip
        console.print(table)
    for failure in credit.failed:
        console.print(f"{failure['method']} was not measured: {failure['reason']}", markup=False)


def _control(console: Console, results: Results) -> None:
    if not results.control:
        return
    table = _simple("Policies that learn", "task", "found", "wanted")
    for name, record in results.control.items():
        found, wanted = {
            "cart pole": lambda r: (f"{r['reached']} of {r['seeds']} seeds at 475", "18"),
            "pendulum": lambda r: (
                ", ".join(f"{p}/{e} {v:.0f}" for p, row in r["last"].items() for e, v in row.items()),
                "finite returns",
            ),
            "chess": lambda r: (
                f"{r['won'][0][0]:.0%} of games won before, {r['won'][1][0]:.0%} after",
                "intervals apart",
            ),
            "corridor": lambda r: (f"{max(r['last'].values()):.3f}", f"within 1 % of {r['best']:.3f}"),
            "speed": lambda r: (f"{r['ratio']:.2f} of by hand", "0.90"),
        }[name](record)
        table.add_row(name, found, wanted if record["passed"] else f"[bold red]{wanted} MISSED[/bold red]")
    console.print(table)


def _discrete(console: Console, results: Results) -> None:
    toy, path, race = results.discrete.toy, results.discrete.path, results.discrete.race
    if toy:
        table = _simple(
            "Bits that hardly matter", "estimator", "calls of f", "variance at step 0", "theory", "at the end", "E f"
        )
        for row in toy.values():
            known = "" if row["first_known"] is None else number(row["first_known"])
            first = with_error(row["first"], row["first_error"])
            last = number(results.discrete.last(row["method"]))
            gain = f"{sum(x[-1] for x in row['objective']) / row['seeds']:.5f}"
            table.add_row(row["label"], str(row["calls"]), first, known, last, gain)
        console.print(table)
    if path:
        table = _simple(
            f"Autoencoder, {path['data']}",
            "estimator",
            "variance at step 0",
            f"at step {path['steps'][-1]}",
            "bias² (%)",
        )
        for name, values in path["variance"].items():
            told = with_error(*(100 * x for x in path["bias"][name][-1])) if VAE[name].biased else ""
            table.add_row(VAE[name].label, number(values[0]), number(values[-1]), told)
        console.print(table)
    if race:
        title = f"Autoencoder, {race['data']}: bound after {race['limit']:.0f} s of learning"
        table = _simple(title, "estimator", "ms a step", "steps", "bound", f"{race['samples']} samples")
        for name, row in race["last"].items():
            spent = number(race["milliseconds"][name]), str(race["curves"][name]["steps"][-1])
            table.add_row(VAE[name].label, *spent, *(with_error(*row[what]) for what in ("bound", "tight")))
        console.print(table)


def _simple(title: str, *columns: str) -> Table:
    table = Table(title=f"[bold]{title}[/bold]", box=box.SIMPLE_HEAD, title_justify="left")
    for place, name in enumerate(columns):
        table.add_column(name, justify="left" if place == 0 or name == "system" else "right", no_wrap=True)
    return table
