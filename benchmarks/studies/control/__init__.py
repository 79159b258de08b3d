"""Policies that learn, one file for each task, and how fast a rollout and its gradient are.

Environments are those of gymnax and pgx, which are imported when a task runs.
"""

from __future__ import annotations

from typing import Any

from benchmarks.settings import Settings
from benchmarks.shown import Cell, Column, Figure, Finding, Part, Section, Table, num
from benchmarks.studies.control import _figures as figures
from benchmarks.studies.control._cart_pole import cart_pole as cart_pole
from benchmarks.studies.control._chess import chess as chess
from benchmarks.studies.control._corridor import corridor as corridor
from benchmarks.studies.control._pendulum import pendulum as pendulum
from benchmarks.studies.control._ppo import ppo as ppo
from benchmarks.studies.control._speed import speed as speed
from benchmarks.study import Records, Study, Task
from benchmarks.words import listed, number, times

WORKLOADS = {
    "cart pole": cart_pole, "pendulum": pendulum, "chess": chess, "corridor": corridor, "speed": speed, "ppo": ppo,
}  # fmt: skip


def tasks(settings: Settings) -> list[Task]:
    """Each once; mode and seed do not change them."""
    del settings
    return [Task(name, do, {"task": name}) for name, do in WORKLOADS.items()]


def sections(records: Records, settings: Settings) -> list[Section]:
    """One for each task."""
    del settings
    shown = {
        "cart pole": _cart_pole_section,
        "pendulum": _pendulum_section,
        "chess": _chess_section,
        "corridor": _corridor_section,
        "speed": _speed_section,
        "ppo": _ppo_section,
    }
    return [of(records[name]) for name, of in shown.items() if name in records]


def _wanted(figure: str, caption: str, text: str, passed: bool) -> Finding:
    return Finding(figure, caption, text + ("" if passed else " Missed."), alarm=not passed)


def _cart_pole_section(r: dict[str, Any]) -> Section:
    text = (
        f"{r['reached']} of {r['seeds']} seeds reach a mean return of 475 over {r['episodes']} episodes, with reward-to-go and a "
        f"learned baseline"
    )
    if r["reached"]:
        text += f", the median after {number(r['median_steps'])} steps, about {r['median_seconds']:.1f} s"
    text += f". All of them, evaluations and compilation included, are one program that takes {r['seconds']:.0f} s. Wanted are 18."
    parts: list[Part] = [
        "Reward-to-go minus a learned baseline, 8 environments at a time, all seeds mapped in one program.",
        _wanted(f"{r['reached']} of {r['seeds']}", "seeds solve CartPole", text, r["passed"]),
        Figure(
            "cart-pole",
            "Return of CartPole-v1 against steps in the environment, for 20 seeds",
            lambda t: figures.cart_pole(r, t),
        ),
    ]
    return Section("cart-pole", "CartPole-v1", parts)


def _pendulum_section(r: dict[str, Any]) -> Section:
    ratios = []
    for policy, routes in r["path"].items():
        slower = r["microseconds"][policy]["pathwise"] / r["microseconds"][policy]["score"]
        pairs = zip(routes["score"]["variance"], routes["pathwise"]["variance"], strict=True)
        ratios += [slower * b / a for a, b in pairs]
    wins, most, least = sum(ratio > 1 for ratio in ratios), max(ratios), min(ratios)
    text = f"Through {r['num_steps']} steps of a pendulum "
    if wins:
        text += (
            f"the pathwise derivative is no sure winner: at {wins} of {len(ratios)} places on the way of a training the "
            f"score function has less variance × time, by up to {times(most)} times. "
        )
    if least < 1:
        text += f"At the best place for it, pathwise has {times(1 / least)} times less."
    about = (
        f"Continuous torque. The same rollout of {r['num_steps']} steps under `sf.expectation`, {r['batch']} at a time; one word "
        f"says whether its actions are scored (with leave-one-out) or differentiated through. Above: mean of {r['seeds']} seeds, "
        f"the band from the worst to the best. Below: variance of the gradient, summed over its coordinates, times the time it "
        f"takes, both estimators at the same parameters: those that the first score-function run went through."
    )
    headings = (
        "policy",
        "estimator",
        "µs per|gradient",
        "variance|at the start",
        "smallest|on the way",
        "largest",
        "return|at the end",
    )
    columns = [Column(title, words=title == "estimator", best=place == 6) for place, title in enumerate(headings)]
    rows = [
        (
            Cell(policy),
            Cell(route),
            num(r["microseconds"][policy][route]),
            num(found["variance"][0], 2),
            num(min(found["variance"]), 2),
            num(max(found["variance"]), 2),
            num(r["last"][policy][route]),
        )
        for policy, routes in r["path"].items()
        for route, found in routes.items()
    ]
    alt = "Return of Pendulum-v1 while it is learned, and variance times time on the way"
    parts: list[Part] = [
        about,
        _wanted(f"{times(most)}×", "less noise than through the dynamics, at most", text, r["passed"]),
        Figure("pendulum", alt, lambda t: figures.pendulum(r, t)),
        Table("pendulum", "Pendulum-v1", columns, rows),
    ]
    return Section("pendulum", "Pendulum-v1, by score function and through the dynamics", parts)


def _chess_section(r: dict[str, Any]) -> Section:
    share = lambda x: f"{x * 100:.0f}"
    interval = lambda row: f"{share(row[0])} % ({share(row[1])} to {share(row[2])} %)"
    before, after = r["won"]
    text = (
        f"REINFORCE with a learned baseline, against an opponent that moves at random: {r['seconds'] / 60:.0f} minutes of learning "
        f"on {number(r['moves'][-1])} moves, compilation included, take it from {interval(before)} to {interval(after)} of "
        f"{r['games']} games won, and from {share(r['lost'][0][0])} % to {r['lost'][1][0] * 100:.1f} % lost."
    )
    parts: list[Part] = [
        "Positions are states, moves are actions, those that the rules forbid have probability 0. A game is worth 1, 0 or −1.",
        _wanted(f"{share(before[0])} → {share(after[0])} %", "of games won, 5 × 5 chess", text, r["passed"]),
        Figure(
            "chess",
            "Games of 5 x 5 chess won and lost against random moves, while it is learned",
            lambda t: figures.chess(r, t),
        ),
    ]
    return Section("chess", "Chess on 5 × 5 squares", parts)


def _corridor_section(r: dict[str, Any]) -> Section:
    last = listed([f"{name} {number(value, 4)}" for name, value in r["last"].items()])
    text = f"Over the last 50 episodes: {last}. The best there is, {number(r['best'], 5)}, is to be met within 1 %."
    about = (
        "All states look alike, so the best policy is random. Expected return, exact, of the policy after each episode; mean of "
        f"{r['runs']} runs ± two standard errors."
    )
    parts: list[Part] = [
        about,
        _wanted(number(max(r["last"].values()), 4), "expected return in the corridor", text, r["passed"]),
        Figure("corridor", "Expected return in the short corridor against episodes", lambda t: figures.corridor(r, t)),
    ]
    return Section("corridor", "The short corridor", parts)


def _speed_section(r: dict[str, Any]) -> Section:
    text = (
        f"Rollout and gradient of {r['environments']} CartPole environments for {r['num_steps']} steps: "
        f"{number(r['steps_per_second'])} steps per second, {r['ratio']:.2f} of the same written out by hand in the same process "
        f"(95 %: {r['ratio_low']:.2f} to {r['ratio_high']:.2f}). Wanted is 0.90."
    )
    return Section(
        "rollouts", "Speed of rollouts", [_wanted(f"{r['ratio']:.2f}", "of the speed of by hand", text, r["passed"])]
    )


def _ppo_section(r: dict[str, Any]) -> Section:
    text = (
        f"PPO on {r['environments']} CartPole environments, {number(r['updates'])} updates of {r['num_steps']} steps each, "
        f"compilation and all: {number(r['steps_per_second'])} steps per second by `rollout` and `training.fit`, {r['ratio']:.2f} "
        f"of a loop that is written out by hand (95 %: {r['ratio_low']:.2f} to {r['ratio_high']:.2f}), in turns. At the end an "
        f"episode returns {r['returns']:.0f}, and {r['returns_by_hand']:.0f} by hand. Wanted is 0.95."
    )
    finding = _wanted(f"{r['ratio']:.2f}", "of the speed of a PPO loop by hand", text, r["passed"])
    return Section("ppo", "A whole PPO training", [finding])


STUDY = Study(
    name="control",
    title="Policies that learn",
    about="CartPole, Pendulum, chess, the short corridor (minutes)",
    tasks=tasks,
    sections=sections,
    axes={"task": dict.fromkeys(WORKLOADS, "")},
    mode="full",
    needs={"gymnax": "rl", "pgx": "rl"},
)
