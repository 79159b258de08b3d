"""Fewer comparisons than all: picked, predicted, along a scan. Each is exact over all uniforms and all that is picked (``all_uniforms``)."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from all_uniforms import PROGRAMS, gradients, truth
from covering import few
from jax import lax

import jax_scorefn as sf
from jax_scorefn.programs import Coupled
from jax_scorefn.programs.lanes import _compare, _online, _options, _predict

pytestmark = pytest.mark.usefixtures("x64", "unchecked_keys")
all_coupled = lambda _: "coupled"
STEPS = 12  # each number of lanes divides it, so that each lane is picked as often


def pick_one(patch, row):
    patch.setattr(
        _options.Comparison,
        "picked",
        lambda self, total, salt: None if total == 1 else jnp.array([row()[0].astype(int) % total]),
    )


@pytest.mark.parametrize("name", few(PROGRAMS, "chain", "scanned", "branches", "plate", "one_hot", "joined"))
def test_one_that_is_picked_is_exact_over_all_picks(name, monkeypatch):
    """Draws and rates are weighted by how seldom one is picked."""
    value, exact = truth(name)
    found = gradients(
        monkeypatch, name, all_coupled, (np.arange(STEPS)[:, None] + 0.0, pick_one), coupled=Coupled(alternatives=1)
    )
    np.testing.assert_allclose(found[0].mean(), value, rtol=1e-12)
    np.testing.assert_allclose(found[1].mean(axis=0), exact, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("name", few(PROGRAMS, "chain", "scan_in_scan", "trials", "between", "stops_in_a_map"))
def test_a_prediction_that_is_half_believed_is_exact(name, monkeypatch):
    """What it lacks is corrected; and it is a number."""
    _, exact = truth(name)
    seen = []

    def half(prediction, differences, picked, of_others):
        del of_others
        assert prediction.shape[1:] == differences.shape[1:]
        assert picked.size == 1
        seen.append(prediction.shape)
        return 0.5 * prediction

    monkeypatch.setattr(_compare, "believed", half)
    options = Coupled(alternatives=1, predict="taylor")
    found = gradients(
        monkeypatch, name, all_coupled, (np.arange(STEPS)[:, None] + 0.0, pick_one), coupled=options, num_samples=2
    )
    np.testing.assert_allclose(found[1].mean(axis=0), exact, rtol=1e-12, atol=1e-12)


def test_picks_are_even():
    """Each alternative as often as any other, whatever their number and how many are picked."""
    for total in (2, 3, 7, 12):
        for number in range(1, total):
            offsets = (np.arange(60) + 0.5) / 60
            counts = np.zeros(total)
            for u in offsets:
                with pytest.MonkeyPatch.context() as patch:
                    patch.setattr(_options, "uniform", lambda *_, u=u: np.float32(u))
                    np.add.at(counts, np.asarray(comparison(number).picked(total, 0)), 1)
            np.testing.assert_allclose(counts, 60 * number / total, atol=1)
    assert comparison(3).picked(3, 0) is None


def comparison(number):
    return _options.Comparison(Coupled(alternatives=number), jax.random.key(0), lambda x: x)


ALONG = {"added": (3, 1), "forgets": (3, 1), "added_backwards": (3, 1), "two_in_a_step": (2, 2), "nested": (2, 2), "apart": (2, 2),
    "stops": (4, 1)}  # fmt: skip
"""Programs whose costs are added up in scans, or come of their last state: iterations, and other values in each."""


def all_chances(name):
    """Cells of whether, cut at E / (n + E) for every n that may be, and of which. The first iteration takes a value in any case."""
    length, number = ALONG[name]
    whether = (np.arange(12) + 0.5) / 12  # 1, 1/2, 1/3, 1/4
    which = (np.arange(number) + 0.5) / number
    axes = [which, *[whether, which] * (length - 1)]
    rows = np.stack(np.meshgrid(*axes, indexing="ij"), axis=-1).reshape(-1, 2 * length - 1)
    rows = np.insert(rows, 0, 0.5, axis=1).reshape(-1, length, 2, 1)
    return jnp.asarray(rows[:, ::-1] if name.endswith("backwards") else rows)


def put_chances(patch, row):
    patch.setattr(_online, "_chances", lambda *_: row())


@pytest.mark.parametrize("mixed", ["all", "even"])
@pytest.mark.parametrize("name", few(ALONG, "forgets", "added_backwards", "nested"))
def test_along_a_scan_is_exact_over_all_chances(name, mixed, monkeypatch):
    _, exact = truth(name)
    estimator = all_coupled if mixed == "all" else lambda i: "coupled" if i % 2 == 0 else "score"
    found = gradients(monkeypatch, name, estimator, (all_chances(name), put_chances), coupled=Coupled(lanes=1))
    np.testing.assert_allclose(found[1].mean(axis=0), exact, rtol=1e-11, atol=1e-12)


@pytest.mark.parametrize("broken", ["not dropped", "kept", "not weighted"])
@pytest.mark.default
@pytest.mark.leaks
def test_what_is_wrong_along_a_scan_is_seen(broken, monkeypatch):
    """Twins: a lane that always takes the next value; one that never does; differences that count once."""
    name = "added"
    _, exact = truth(name)
    rows = all_chances(name)
    if broken == "not weighted":
        mean = _online._mean_change
        monkeypatch.setattr(_online, "_mean_change", lambda rates, values: mean(rates / 2, values))
    else:
        rows = rows.at[:, 1:, 0].set(0.01 if broken == "not dropped" else 0.99)
    found = gradients(monkeypatch, name, all_coupled, (rows, put_chances), coupled=Coupled(lanes=1))
    assert np.max(np.abs(found[1].mean(axis=0) - exact)) > 1e-3


def walk(p, key, length=20):
    """The position is added up too."""

    def step(x, k):
        b = sf.sample(k, sf.Bernoulli(probs=jnp.exp(-x / p)), estimator="coupled", name="step")
        return x + 2 * b - 1, x + 2 * b

    last, passed = lax.scan(step, jnp.zeros_like(p), jax.random.split(key, length))
    return last**2 + jnp.mean(passed**2)


OPTIONS = {
    "picked": Coupled(alternatives=3),
    "predicted": Coupled(alternatives=3, predict="taylor"),
    "one along": Coupled(lanes=1),
    "five along": Coupled(lanes=5),
    "in pieces": Coupled(chunk_size=7),
}


@pytest.mark.statistical
@pytest.mark.parametrize("name", OPTIONS)
@pytest.mark.default
def test_all_options_agree_on_the_mean(name):
    """With keys that are drawn, where the tests above put numbers in; under jit, vmap, and in chunks of runs."""
    keys = jax.random.split(jax.random.key(2), 4000)
    grads = lambda **options: jax.jit(jax.vmap(jax.grad(sf.expectation(walk, num_samples=4, **options)), (None, 0)))(
        40.0, keys
    )
    whole, found = grads(), grads(coupled=OPTIONS[name])
    error = np.std(found - whole) / len(keys) ** 0.5
    assert abs(np.mean(found - whole)) <= 4 * error + 1e-9
    assert name == "in pieces" or np.std(found) > np.std(whole)


def test_what_is_believed_depends_on_other_runs_alone():
    """Not on the differences of the run itself, which decide what its prediction lacks."""
    key = jax.random.key(0)
    predictions, differences = jax.random.normal(key, (2, 5, 6, 2))
    picked = jnp.arange(6)

    def run(differences):
        each = lambda b, d: _predict.believed(b, d, picked, sf.programs._expectation.of_others)
        return jax.vmap(each, axis_name=sf.programs._expectation.AXIS)(predictions, differences)

    slopes = jax.jacobian(run)(differences)  # runs, alternatives, costs, and by which run
    own = jnp.stack([slopes[i, :, :, i] for i in range(5)])
    assert jnp.all(own == 0)
    assert jnp.any(slopes != 0)


def test_a_prediction_that_explodes_is_not_believed():
    """A logistic map: where differences stay small and derivatives do not, the variance is that of picks alone."""

    def logistic(p, key):
        def step(x, k):
            b = sf.sample(k, sf.Bernoulli(probs=p), estimator="coupled")
            return (3.9 + 0.05 * b) * x * (1 - x), None

        return lax.scan(step, 0.3, jax.random.split(key, 40))[0]

    keys = jax.random.split(jax.random.key(1), 1000)
    deviation = lambda how: np.std(
        jax.jit(jax.vmap(jax.grad(sf.expectation(logistic, num_samples=8, coupled=how)), (None, 0)))(0.5, keys)
    )
    predicted, picked = deviation(Coupled(alternatives=4, predict="taylor")), deviation(Coupled(alternatives=4))
    assert predicted < 1.2 * picked


def test_a_smooth_cost_is_predicted():
    """Eight corrections of two hundred bits."""
    weights = jax.random.normal(jax.random.key(0), (40, 200)) / 200**0.5

    def cost(logits, key):
        bits = sf.sample(key, sf.Bernoulli(logits=logits), estimator="coupled")
        return jnp.sum((jnp.tanh(weights @ bits) - 0.3) ** 2)

    keys = jax.random.split(jax.random.key(1), 300)

    def variance(how):
        grads = jax.jit(jax.vmap(jax.grad(sf.expectation(cost, num_samples=4, coupled=how)), (None, 0)))(
            jnp.zeros(200), keys
        )
        return np.sum(np.var(grads, axis=0))

    picked, predicted, whole = map(
        variance, (Coupled(alternatives=8), Coupled(alternatives=8, predict="taylor"), Coupled())
    )
    assert whole < predicted < 0.1 * picked


def test_counts_are_predicted_where_they_are_made_floats():
    def program(rates, key):
        counts = sf.sample(key, sf.Poisson(rate=rates), estimator="coupled").astype(float)
        return jnp.tanh(0.02 * counts @ jnp.array([1.0, 2.0, -1.0]))

    keys = jax.random.split(jax.random.key(1), 500)

    def deviation(**options):
        grad = jax.grad(sf.expectation(program, num_samples=4, coupled=Coupled(alternatives=1, **options)))
        return np.std(jax.jit(jax.vmap(grad, (None, 0)))(jnp.array([2.0, 1.0, 3.0]), keys), axis=0)

    assert np.all(deviation(predict="taylor") < 0.3 * deviation())


MISTAKES = [
    (lambda: Coupled(alternatives=0), ValueError, "alternatives"),
    (lambda: Coupled(alternatives="some"), ValueError, "is 'all' or the number"),
    (lambda: Coupled(alternatives=2, predict="linear"), ValueError, "predict"),
    (lambda: Coupled(predict="taylor"), ValueError, "alternatives=8"),
    (lambda: Coupled(lanes=2, alternatives=3), ValueError, "give one of the two"),
    (lambda: Coupled(lanes=0), ValueError, "lanes"),
    (lambda: Coupled(chunk_size=0), ValueError, "chunk_size"),
    (lambda: sf.expectation(walk, coupled="all"), TypeError, "programs.Coupled"),
    (lambda: sf.expectation(walk, coupled={}), TypeError, "programs.Coupled"),
    (lambda: run(Coupled(alternatives=2, predict="taylor")), ValueError, "num_samples=2 or more"),
]  # fmt: skip


def run(how, program=walk):
    return sf.expectation(program, coupled=how)(40.0, jax.random.key(0))


@pytest.mark.parametrize(("call", "error", "says"), MISTAKES)
def test_options_that_are_wrong_say_so(call, error, says):
    with pytest.raises(error, match=says):
        call()


def test_a_cost_of_all_iterations_together_is_refused_along_a_scan():
    def program(p, key):
        _, rows = lax.scan(lambda x, k: (x + sf.sample(k, sf.Bernoulli(probs=p), estimator="coupled", name="bit"),) * 2, 0.0,
            jax.random.split(key, 3))  # fmt: skip
        return jnp.max(rows)

    with pytest.raises(ValueError, match=r"another value of bit along a scan.*all iterations together: reduce_max"):
        sf.expectation(program, coupled=Coupled(lanes=1))(0.5, jax.random.key(0))


def test_a_choice_that_is_summed_is_refused_beside_a_scan():
    def program(p, key):
        first, second = jax.random.split(key)
        a = sf.sample(first, sf.Bernoulli(probs=p), estimator="exact", name="first")
        return walk(40.0 + p * a, second)

    with pytest.raises(ValueError, match="first is summed over its values"):
        sf.expectation(program, coupled=Coupled(lanes=1))(0.5, jax.random.key(0))


def two_scans(kind):
    """A second scan makes the cost of what the first has stacked."""

    def program(p, key):
        def step(c, k):
            b = sf.sample(k, sf.Bernoulli(probs=p), estimator="coupled", name="bit")
            return 0.5 * c + b, b

        first, second = jax.random.split(key)
        last, bits = lax.scan(step, 0.0, jax.random.split(first, 4))
        if kind == "rows":
            return lax.scan(lambda t, b: (t + b**2, None), 0.0, bits)[0]
        if kind == "closed over":
            return lax.scan(lambda t, i: (t + bits[i] ** 2, None), 0.0, jnp.arange(4))[0]
        if kind == "drawn":
            keys = jax.random.split(second, 4)
            draw = lambda k, b: sf.sample(k, sf.Bernoulli(probs=0.9 * b), estimator="coupled")
            return lax.scan(lambda t, row: (t + draw(*row), None), 0.0, (keys, bits))[0]
        return lax.scan(lambda t, _: (t + last, None), 0.0, None, length=3)[0]  # of the last state

    return program


@pytest.mark.parametrize("kind", ["rows", "closed over", "drawn"])
def test_a_second_scan_over_what_the_first_has_stacked_is_refused(kind):
    with pytest.raises(ValueError, match="another value of bit along a scan"):
        jax.grad(sf.expectation(two_scans(kind), coupled=Coupled(lanes=2)))(0.4, jax.random.key(0))


def test_a_second_scan_over_the_last_state_is_right():
    keys = jax.random.split(jax.random.key(0), 2000)
    grads = jax.vmap(jax.grad(sf.expectation(two_scans("state"), coupled=Coupled(lanes=2))), (None, 0))(0.4, keys)
    assert abs(np.mean(grads) - 3 * (1 + 0.5 + 0.25 + 0.125)) < 4 * np.std(grads) / 2000**0.5


def test_a_scan_without_a_state():
    program = lambda p, key: jnp.sum(lax.scan(
        lambda c, k: (c, sf.sample(k, sf.Bernoulli(probs=p), estimator="coupled")), (), jax.random.split(key, 5))[1])  # fmt: skip
    grads = jax.vmap(jax.grad(sf.expectation(program, coupled=Coupled(lanes=1))), (None, 0))(
        0.4, jax.random.split(jax.random.key(0), 9)
    )
    np.testing.assert_allclose(grads, 5.0)
