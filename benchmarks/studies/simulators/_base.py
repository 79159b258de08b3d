"""What a simulator is to the benchmark: a program of named choices, its parameters, and the exact gradient where one is known."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Any

SIMULATORS: dict[str, Callable[[], Simulator]] = {}
"""How to make each, by its name, in the order of the report."""


@dataclasses.dataclass(frozen=True)
class Simulator:
    """A program ``(params, key) -> cost`` whose choices have names and leave their estimator to a plan.

    ``exact`` is the gradient of the expected cost, or None; ``about`` says in a line what is simulated and what the cost is.
    """

    program: Callable[[Any, Any], Any]
    params: Any
    about: str
    exact: Any = None


def simulator(name: str) -> Callable[[Callable[[], Simulator]], Callable[[], Simulator]]:
    """Register how one is made."""

    def register(make: Callable[[], Simulator]) -> Callable[[], Simulator]:
        SIMULATORS[name] = make
        return make

    return register
