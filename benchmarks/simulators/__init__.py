"""Simulators whose parameters are found by their gradients: one program each, and what each estimator is worth on it.

``python -m benchmarks.simulators`` measures them; a new one is a function in one of the files here.
"""

from benchmarks.simulators import chemistry, crowds, queues, walks
from benchmarks.simulators._base import SIMULATORS as SIMULATORS, Simulator as Simulator

__all__ = ["SIMULATORS", "Simulator", "chemistry", "crowds", "queues", "walks"]
