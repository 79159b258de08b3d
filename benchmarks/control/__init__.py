"""Policies that learn, one file for each task, and how fast a rollout and its gradient are; ``python -m benchmarks --only control``.

Environments are those of gymnax and pgx: `pip install 'jax_scorefn[rl]'`. They are imported when a task runs.
"""

from benchmarks.control._cart_pole import cart_pole
from benchmarks.control._chess import chess
from benchmarks.control._corridor import corridor
from benchmarks.control._pendulum import pendulum
from benchmarks.control._speed import speed

WORKLOADS = {"cart pole": cart_pole, "pendulum": pendulum, "chess": chess, "corridor": corridor, "speed": speed}
