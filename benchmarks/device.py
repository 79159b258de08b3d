"""A device in six minutes: is the library right on it, how fast, and what fits. It needs the installed package and these files.

    python -m benchmarks.device                     every check, on the first device that JAX finds
    python -m benchmarks.device --out gpu.json      one JSON file; the same command goes on where it was cut off
    python -m benchmarks.device --short             the smallest sizes: what the tests run on a CPU

What is compared is the device with the CPU of the same process, and the library with what a person writes by hand, in turns.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

import jax_scorefn as sf
from benchmarks import timing
from benchmarks.workloads import Workload, bernoulli, gaussian, latents, policy

Row = dict[str, Any]
Check = Callable[[bool], Row]
BUDGET = 360.0
"""Seconds; what is not begun by then is left out, and said to be."""
ULPS, TIES = 128, 1e-3
"""How far floats may be off, in units of the last place; the share of discrete draws that may fall on the other side of a rounding."""


def on_cpu(call: Callable[..., Any], *args: Any) -> Any:
    """What a call gives on the CPU, in numpy."""
    with jax.default_device(jax.devices("cpu")[0]):
        return jax.tree.map(np.asarray, jax.jit(call)(*jax.tree.map(_unplaced, args)))


def on_device(call: Callable[..., Any], *args: Any) -> Any:
    """What it gives on the device."""
    return jax.tree.map(np.asarray, jax.jit(call)(*args))


def _unplaced(x: Any) -> Any:
    """An argument that is not bound to the device."""
    if jnp.issubdtype(x.dtype, jax.dtypes.prng_key):
        return jax.random.wrap_key_data(jnp.asarray(np.asarray(jax.random.key_data(x))))
    return np.asarray(x)


def ulps(a: np.ndarray, b: np.ndarray) -> float:
    """The largest difference, in units of the last place of the larger number; infinite where one alone is finite."""
    if not np.array_equal(np.isfinite(a), np.isfinite(b)):
        return float("inf")
    a, b = a[np.isfinite(a)], b[np.isfinite(b)]
    size = np.maximum(np.abs(a), np.abs(b))
    unit = np.spacing(np.maximum(size, np.finfo(a.dtype).tiny))
    return float(np.max(np.abs(a - b) / unit, initial=0.0))


# ---- whether it is right


def random_bits(short: bool) -> Row:
    """Words of 32 and of 64 bits, which have to be those of the CPU."""
    size = 10**4 if short else 10**6
    draw = lambda key: sf.random.bits(key, (size,), jnp.uint32)
    uniform = lambda key: sf.random.uniform(key, (size,))
    key = jax.random.key(0)
    bits = np.array_equal(on_device(draw, key), on_cpu(draw, key))
    floats = ulps(on_device(uniform, key), on_cpu(uniform, key))
    return {"words": size, "bits equal": bool(bits), "ulps of uniforms": floats, "passed": bool(bits and floats == 0)}


CONTINUOUS: dict[str, Callable[[Any], Any]] = {
    "Normal": lambda p: sf.Normal(loc=p, scale=jnp.exp(p)), "Gumbel": lambda p: sf.Gumbel(loc=p, scale=1.0),
    "Exponential": lambda p: sf.Exponential(rate=jnp.exp(p)), "Logistic": lambda p: sf.Logistic(loc=p, scale=1.0),
    "Gamma": lambda p: sf.Gamma(concentration=jnp.exp(p), rate=1.0), "TruncatedNormal":
    lambda p: sf.TruncatedNormal(loc=p, scale=1.0, low=-1.0, high=2.0), "MultivariateNormal":
    lambda p: sf.MultivariateNormal(loc=p, scale_tril=jnp.eye(3) + jnp.tril(p[:, None] * p[None])),
}  # fmt: skip
DISCRETE: dict[str, Callable[[Any], Any]] = {
    "Bernoulli": lambda p: sf.Bernoulli(logits=p), "Categorical": lambda p: sf.Categorical(logits=p),
    "Poisson": lambda p: sf.Poisson(rate=jnp.exp(p)), "Binomial": lambda p: sf.Binomial(total_count=9, logits=p),
    "Geometric": lambda p: sf.Geometric(logits=p),
}  # fmt: skip
PARAMS = np.array([0.4, -0.6, 0.1], np.float32)


def draws_of(dist: Callable[[Any], Any], size: int) -> Callable[..., Any]:
    """Draws, and their log-probabilities."""

    def call(params: Any, key: Any) -> Any:
        keys = jax.random.split(key, size)
        return jax.vmap(lambda k: dist(params).sample_and_log_prob(k))(keys)

    return call


def floats(short: bool) -> Row:
    """Continuous draws: to a few units of the last place of a number of the size of their parameters."""
    size, key, found = 100 if short else 20_000, jax.random.key(1), {}
    for name, dist in CONTINUOUS.items():
        x, y = (run(draws_of(dist, size), PARAMS, key)[0] for run in (on_device, on_cpu))
        off = np.abs(x - y) / np.spacing(np.maximum(np.abs(y), np.float32(1)))
        # a draw by rejection takes another branch where two floats differ in their last digit
        found[name] = float(np.quantile(off, 1 - TIES) if name == "Gamma" else np.max(off))
    return {"draws": size, "ulps": found, "passed": max(found.values()) <= ULPS}


def ties(short: bool) -> Row:
    """Discrete draws: the same, but for those that a rounding puts on the other side."""
    size, key = 100 if short else 100_000, jax.random.key(2)
    found = {}
    for name, dist in DISCRETE.items():
        x, y = (run(draws_of(dist, size), PARAMS, key)[0] for run in (on_device, on_cpu))
        found[name] = float(np.mean(np.any((x != y).reshape(size, -1), axis=1)))
    return {"draws": size, "share that differs": found, "passed": max(found.values()) <= TIES}


EXAM: dict[str, Callable[[Any], Any]] = {
    "score_function": DISCRETE["Bernoulli"], "pathwise": CONTINUOUS["Normal"],
    "vargrad": CONTINUOUS["Normal"], "double_control_variate": DISCRETE["Bernoulli"],
    "rao_blackwell": DISCRETE["Bernoulli"], "arm": DISCRETE["Bernoulli"],
    "disarm": DISCRETE["Bernoulli"], "arms": DISCRETE["Bernoulli"],
    "rebar": DISCRETE["Bernoulli"], "rodeo": DISCRETE["Bernoulli"],
    "coupled": DISCRETE["Bernoulli"], "measure_valued": DISCRETE["Poisson"],
    "sum_and_sample": DISCRETE["Categorical"], "unordered_set": DISCRETE["Categorical"],
    "carms": DISCRETE["Categorical"], "gumbel_rao": DISCRETE["Categorical"],
}  # fmt: skip


def _cost(x: Any) -> Any:
    x = x.astype(jnp.float32)
    return jnp.sum(jnp.sin(x * jnp.arange(1, x.size + 1).reshape(x.shape)) + x**2 / 4)


def exam(short: bool) -> Row:
    """The gradient of each estimator, compiled: that of the CPU."""
    off: dict[str, Any] = {}
    for name, dist in list(EXAM.items())[:: 8 if short else 1]:
        how = {"num_samples": 64}
        run = lambda p, k, name=name, dist=dist, how=how: getattr(sf, f"{name}_grad")(
            _cost, sf.family(dist), p, k, **how
        )
        try:
            a, b = (which(run, PARAMS, jax.random.key(3)) for which in (on_device, on_cpu))
            off[name] = float(np.max(np.abs(a - b)) / (1e-6 + np.max(np.abs(b))))
        except Exception as error:  # what a device cannot compile is a finding
            off[name] = f"{type(error).__name__}: {str(error)[:200]}"
    return {"relative difference": off, "passed": all(isinstance(x, float) and x < 1e-3 for x in off.values())}


def unbiased(short: bool) -> Row:
    """The mean of many gradients on the device, beside the exact one: how many standard errors off."""
    many, dist = 200 if short else 20_000, sf.family(DISCRETE["Bernoulli"])
    run = jax.jit(jax.vmap(lambda k: sf.score_function_grad(_cost, dist, jnp.asarray(PARAMS), k, num_samples=16)))
    grads = np.asarray(run(jax.random.split(jax.random.key(4), many)), np.float64)
    exact = np.asarray(sf.exact_grad(_cost, dist, jnp.asarray(PARAMS)), np.float64)
    z = (grads.mean(0) - exact) / (grads.std(0, ddof=1) / many**0.5)
    return {"gradients": many, "largest z": float(np.max(np.abs(z))), "passed": bool(np.max(np.abs(z)) < 4.5)}


def half_precision(short: bool) -> Row:
    """Parameters in bfloat16: the gradient beside that of the same numbers in float32, in units of bfloat16's last place."""
    del short
    dist, low = sf.family(CONTINUOUS["Normal"]), jnp.asarray(PARAMS).astype(jnp.bfloat16)
    run = lambda p, k: sf.score_function_grad(
        lambda x: jnp.sum(x.astype(jnp.float32) ** 2), dist, p, k, num_samples=4096
    )
    a, b = (np.asarray(jax.jit(run)(p, jax.random.key(5)), np.float64) for p in (low, low.astype(jnp.float32)))
    off = float(np.max(np.abs(a - b) / np.maximum(np.abs(b), 0.1)) / 2**-8)
    return {"in units of the last place": off, "passed": off < 16}


def black_box(short: bool) -> Row:
    """An f that is plain Python: the host is called from the device, and the gradient is that of the same f in JAX."""
    del short
    dist, key, params = sf.family(DISCRETE["Bernoulli"]), jax.random.key(6), jnp.asarray(PARAMS)
    box = sf.black_box(lambda x: float(np.sum(x) ** 2))
    run = lambda f: jax.jit(lambda p, k: sf.score_function_grad(f, dist, p, k, num_samples=64))(params, key)
    off = float(jnp.max(jnp.abs(run(box) - run(lambda x: jnp.sum(x) ** 2))))
    return {"difference": off, "passed": off < 1e-5}


def two_processes(short: bool) -> Row:
    """Two processes that both use the first device. Where that is not allowed, what it says; there is no verdict."""
    code = (
        "import jax, jax_scorefn as sf; coin = sf.family(lambda l: sf.Bernoulli(logits=l));"
        "print(float(sf.score_function_grad(lambda x: 1.0 + x, coin, 0.0, jax.random.key(0))))"
    )
    if short:
        return {"left out": "in the short form", "passed": None}
    env = os.environ | {"XLA_PYTHON_CLIENT_PREALLOCATE": "false"}
    begin = lambda: subprocess.Popen(
        [sys.executable, "-c", code], env=env, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    told = [process.communicate(timeout=120) for process in [begin(), begin()]]
    said = [out.strip() or err.strip().splitlines()[-1][:200] for out, err in told]
    return {"said": said, "passed": None}


# ---- how fast, and what fits


def workload(make: Callable[[], Workload]) -> Check:
    """A workload of the study of speed: microseconds, the ratio to the same by hand, and the bytes that each sets aside."""

    def check(short: bool) -> Row:
        work = make()
        ours, by_hand = jax.jit(work.ours), jax.jit(work.by_hand)
        laps = np.array(
            timing.interleaved([ours, by_hand], work.params, jax.random.key(0), 3 if short else min(work.repeats, 50))
        )
        memory = [call.lower(work.params, jax.random.key(0)).compile().memory_analysis() for call in (ours, by_hand)]
        sizes = [None if m is None else m.temp_size_in_bytes / 2**20 for m in memory]
        return {
            "workload": work.name, "microseconds": float(np.median(laps[:, 0]) * 1e6), **timing.ratio(laps),
            "MiB": sizes[0], "MiB by hand": sizes[1], "passed": None,
        }  # fmt: skip

    return check


def chunks(short: bool) -> Row:
    """The time of W1 in chunks of several sizes, in units of all draws at once: what "auto" would be chosen by."""
    dim, total = (10, 1000) if short else (1000, 200_000)
    dist = sf.family(lambda p: sf.Normal(loc=p, scale=1.0))

    def of(size: int | None) -> Callable[..., Any]:
        return jax.jit(lambda p, k: sf.score_function_grad(
            lambda x: jnp.sum(x**2), dist, p, k, num_samples=total, chunk_size=size))  # fmt: skip

    sizes = [total // n for n in (4, 20, 100)]
    laps = np.array(
        timing.interleaved([of(None), *map(of, sizes)], jnp.zeros(dim), jax.random.key(0), 3 if short else 10)
    )
    middle = np.median(laps, axis=0)
    return {
        "draws": total, "milliseconds at once": float(middle[0] * 1e3),
        "ratio": {str(size): float(x / middle[0]) for size, x in zip(sizes, middle[1:], strict=True)}, "passed": None,
    }  # fmt: skip


def largest(short: bool) -> Row:
    """The most draws of W1, D = 1000, that fit at once; and that ten times as many fit in chunks."""
    dist, fits, total = sf.family(lambda p: sf.Normal(loc=p, scale=1.0)), 0, 1000 if short else 100_000
    limit = 4000 if short or jax.default_backend() == "cpu" else 10**9

    def run(draws: int, size: int | None) -> Any:
        call = lambda p, k: sf.score_function_grad(
            lambda x: jnp.sum(x**2), dist, p, k, num_samples=draws, chunk_size=size
        )
        return jax.block_until_ready(jax.jit(call)(jnp.zeros(1000), jax.random.key(0)))

    said = ""
    while total <= limit:
        try:
            run(total, None)
        except jax.errors.JaxRuntimeError as error:
            said = str(error).splitlines()[0][:200]
            break
        fits, total = total, 2 * total
    finite = bool(jnp.all(jnp.isfinite(run(10 * fits, max(1, fits // 8)))))
    return {"draws at once": fits, "then": said or "not tried", "ten times as many in chunks": finite, "passed": finite}


WORKLOADS: dict[str, Callable[[bool], Workload]] = {
    "W1": lambda short: gaussian(10, 100) if short else gaussian(1000, 10_000),
    "W2": lambda short: bernoulli(1, 100) if short else bernoulli(200, 10_000),
    "W3": lambda short: policy(2 if short else 16),
    "W4": lambda short: latents(2 if short else 1024),
}


def checks(short: bool) -> Iterator[tuple[str, Check]]:
    """All of them, what is right before what is fast."""
    for check in (random_bits, floats, ties, exam, unbiased, half_precision, black_box):
        yield check.__name__.replace("_", " "), check
    for name, make in WORKLOADS.items():
        yield name, workload(lambda make=make: make(short))
    for check in (chunks, two_processes, largest):
        yield check.__name__.replace("_", " "), check


def versions() -> Row:
    """What was tested, and on what."""
    device = jax.devices()[0]
    return {
        "jax_scorefn": sf.__version__, "jax": jax.__version__, "python": platform.python_version(),
        "platform": device.platform, "device": device.device_kind, "devices": jax.device_count(),
    }  # fmt: skip


# ---- the file and the table


def main(argv: Sequence[str] | None = None) -> int:
    """Run what is not in the file yet, and show all of it."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.device", description=str(__doc__).partition("\n")[0])
    parser.add_argument("--out", type=Path, default=Path("device.json"), help="the JSON file, which is gone on with")
    parser.add_argument("--short", action="store_true", help="the smallest sizes")
    options = parser.parse_args(argv)
    begin, about = time.perf_counter(), versions() | {"short": options.short}
    rows = _kept(options.out, about)
    print("  ".join(f"{key} {value}" for key, value in about.items()), flush=True)
    for name, check in checks(options.short):
        if name not in rows and time.perf_counter() - begin < BUDGET:
            start = time.perf_counter()
            try:
                row = check(options.short)
            except Exception as error:  # one check that fails is no reason to lose the others
                row = {"error": f"{type(error).__name__}: {str(error)[:500]}", "passed": False}
            rows[name] = row | {"seconds": time.perf_counter() - start}
            _write(options.out, {"about": about, "checks": rows})
        print(_line(name, rows.get(name)), flush=True)
    return (
        0
        if all(row["passed"] is not False for row in rows.values()) and len(rows) == len(list(checks(options.short)))
        else 1
    )


def _kept(path: Path, about: Row) -> dict[str, Row]:
    """The rows of the file, if they are of this device and these versions."""
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
        return dict(found["checks"]) if found["about"] == about else {}
    except (OSError, ValueError, KeyError, TypeError):
        return {}


def _write(path: Path, found: Row) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    scratch = path.with_suffix(".tmp")
    scratch.write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")
    os.replace(scratch, path)


def _line(name: str, row: Row | None) -> str:
    if row is None:
        return f"{name:20s} left out: the time was over"
    told = ", ".join(f"{key} {_told(value)}" for key, value in row.items() if key not in ("passed", "seconds"))
    verdict = {True: "passed", False: "FAILED", None: "told"}[row["passed"]]
    return f"{name:20s} {verdict} {row['seconds']:6.1f} s   {told}"


def _told(value: Any) -> str:
    if isinstance(value, dict):
        return " ".join(f"{key} {_told(each)}" for key, each in value.items())
    return f"{value:.3g}" if isinstance(value, float) else str(value)


if __name__ == "__main__":
    sys.exit(main())
