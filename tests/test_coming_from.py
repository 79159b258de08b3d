"""docs/coming-from.md: its programs are run, ours and theirs, against the exact gradient; its numbers are those of the committed file."""

import json
import re
import warnings

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import jax_scorefn as sf
from benchmarks.peers import coming_from, run_page, serve

with warnings.catch_warnings():
    warnings.simplefilter("ignore")
    import distrax
    from tensorflow_probability.substrates import jax as tfp

pytestmark = pytest.mark.usefixtures("foreign")
TEXT = run_page.PAGE.read_text()
RESULTS = json.loads(coming_from.RESULTS.read_text())
HERE = [name for name in run_page.PACKAGES if name not in coming_from.ENVIRONMENTS]
SHARES = {"surrogate": 0.75}
"""What theirs is known to estimate, as a share of the gradient; the page says so. The gate has to find it."""


def measured(name, side, count=6000):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return serve.of_rows(run_page.gradients(run_page.program(TEXT, side, name), count))


def apart(one, other):
    """The distance of two means in standard errors, the largest of the coordinates."""
    pairs = [[np.asarray(x[k]) for x in (one, other)] for k in ("mean", "standard_error")]
    return float(np.max(np.abs(pairs[0][0] - pairs[0][1]) / np.hypot(*pairs[1])))


def sure(mean):
    return {"mean": np.asarray(mean), "standard_error": np.zeros(np.shape(mean))}


def too_noisy(found, exact):
    """Whether an answer of 0 would pass."""
    return apart(found, sure(np.zeros_like(exact))) < 5


@pytest.mark.parametrize("name", HERE)
def test_both_programs_are_run(name):
    exact = coming_from.exact(name)
    theirs, ours = (measured(name, side) for side in ("theirs", "ours"))
    assert not too_noisy(theirs, exact) and not too_noisy(ours, exact)
    assert apart(ours, sure(exact)) < 5
    assert apart(theirs, sure(exact * SHARES.get(name, 1.0))) < 5
    biased = name in SHARES  # a twin: the gate tells it apart
    assert (apart(theirs, sure(exact)) > 5) == biased and (apart(theirs, ours) > 5) == biased
    for found, kept in ((theirs, RESULTS[name]["theirs"]), (ours, RESULTS[name]["ours"])):
        error = np.hypot(found["variance_error"], kept["variance_error"])
        assert abs(found["variance"] - kept["variance"]) < 5 * error
    assert ours["variance"] < theirs["variance"] / SHARES.get(name, 1.0) ** 2 + 5 * theirs["variance_error"]


@pytest.mark.parametrize("name", run_page.PACKAGES)
def test_the_numbers_of_the_page_are_those_of_the_file(name):
    record = RESULTS[name]
    said = coming_from.part(TEXT, name)[1]
    assert said.strip() == coming_from.lines(name, record).strip()
    exact = coming_from.exact(name)
    assert np.allclose(record["exact"], exact, atol=1e-8)
    for side, share in (("theirs", SHARES.get(name, 1.0)), ("ours", 1.0)):
        found = record[side]
        assert found["code"] == run_page.digest(run_page.program(TEXT, side, name)), "measure it again"
        assert found["count"] >= run_page.ONE_BY_ONE and apart(found, sure(exact * share)) < 5
        assert not too_noisy(found, exact)
        twin = found | {"mean": [*found["mean"][:-1], found["mean"][-1] + 0.001]}
        assert coming_from.lines(name, record | {side: twin}).strip() != said.strip()


SHARES_OF_VARIANTS = {"optax": 15 / 16, "storchastic": 0.5, "rlax": None, "trl": None, "genjax": None}
"""What a variant of theirs is said to estimate, as a share of the gradient; None: something else."""


@pytest.mark.parametrize("name", run_page.VARIANTS)
def test_what_is_measured_of_variants(name):
    found, share = RESULTS[name]["variant"], SHARES_OF_VARIANTS[name]
    exact = coming_from.exact_second(name) if name in coming_from.SECOND else coming_from.exact(name)
    assert found["code"] == run_page.digest(run_page.program(TEXT, "variant", name)), "measure it again"
    assert apart(found, sure(exact)) > 5
    assert share is None or apart(found, sure(share * exact)) < 5


@pytest.mark.slow
def test_the_script_measures_what_the_file_has(tmp_path):
    """From nothing, in processes of their own; and what was measured of the same code is not measured again."""
    kept = RESULTS["surrogate"]
    found = coming_from.measure(tmp_path, "surrogate", {})
    for side in ("theirs", "ours"):
        assert found[side]["code"] == kept[side]["code"] and np.allclose(
            found[side]["mean"], kept[side]["mean"], atol=1e-4
        )
    marked = {side: kept[side] | {"count": -1} for side in ("theirs", "ours")}
    assert coming_from.measure(tmp_path, "surrogate", marked)["ours"]["count"] == -1


def test_nothing_is_marked_that_is_not_run():
    marks = re.findall(r"<!-- (theirs|ours): (\w+)", TEXT)
    assert sorted(marks) == sorted((side, name) for name in run_page.PACKAGES for side in ("theirs", "ours"))
    assert set(RESULTS) == set(run_page.PACKAGES) == set(coming_from.PROBLEMS)
    with pytest.raises(ValueError, match="has 0 blocks"):
        run_page.program(TEXT, "theirs", "theano")
    plain = re.findall(r"(<!-- .*? -->\n\n)?```(python|\{code-cell\})", TEXT)
    assert all(mark for mark, kind in plain if kind == "python")  # a block that is not run has no place here


def test_parameters_are_those_of_the_page():
    for name, (_, at) in coming_from.PROBLEMS.items():
        for side in ("theirs", "ours"):
            (said,) = re.findall(r"^params = (.*)$", run_page.program(TEXT, side, name), flags=re.MULTILINE)
            assert [float(x) for x in re.findall(r"-?\d+\.\d+", said)] == list(at)


def test_what_is_said_of_the_surrogate():
    """The Hessian of the usual surrogate, averaged over all draws, is not that of the objective."""
    reward, logits = jnp.array([1.0, 0.0, 3.0]), jnp.array([0.0, 1.0, 0.5])
    objective = lambda l: jax.nn.softmax(l) @ reward
    weights = jax.nn.softmax(logits)
    means = lambda factor: jnp.einsum(
        "i,ijk->jk", weights, jnp.stack([jax.hessian(lambda l: reward[x] * factor(l, x))(logits) for x in range(3)])
    )
    right = jax.hessian(objective)(logits)
    log_prob = lambda l, x: jax.nn.log_softmax(l)[x]
    assert jnp.allclose(means(lambda l, x: sf.magic_box(log_prob(l, x))), right, atol=1e-5)
    assert jnp.abs(means(log_prob) - right).max() > 0.1


def test_what_is_said_of_tfp():
    """The default is the path, which a Poisson does not have; derivatives by the score are right at every order."""
    draws = jnp.arange(60.0)

    def mean(log_rate, **how):
        dist = tfp.distributions.Poisson(log_rate=log_rate)
        each = jax.vmap(
            lambda x: tfp.monte_carlo.expectation(lambda x: jnp.maximum(x - 2.0, 0.0), x[None], dist.log_prob, **how)
        )
        return jax.lax.stop_gradient(dist.prob(draws)) @ each(draws)

    assert jax.grad(mean)(0.5) == 0.0
    objective = lambda x: coming_from.tail(np.array([x]))
    twice = (objective(0.501) - 2 * objective(0.5) + objective(0.499)) / 1e-6
    score = lambda x: mean(x, use_reparameterization=False)
    assert np.isclose(jax.grad(jax.grad(score))(0.5), twice, rtol=1e-3)
    with pytest.raises(TypeError, match="pathwise needs"):
        sf.pathwise_grad(lambda x: x, sf.family(lambda rate: sf.Poisson(rate=rate)), 1.0, jax.random.key(0))


def test_what_is_said_of_distrax(key):
    """Without a stop, the path of the draw takes the score away; ours may keep the object."""

    def surrogate(mean):
        x, log_prob = distrax.Normal(mean, 1.0).sample_and_log_prob(seed=key, sample_shape=64)
        return jnp.mean((x > 0.0) * log_prob)

    assert jax.grad(surrogate)(0.3) == 0.0
    bits = sf.family(lambda logits: distrax.Independent(distrax.Bernoulli(logits=logits), 1))
    logits = jnp.array([-0.5, 0.2, 1.0])
    one = lambda key: sf.score_function_grad(lambda x: x.sum() >= 2, bits, logits, key, num_samples=8)
    g = serve.of_rows(np.asarray(jax.vmap(one)(jax.random.split(key, 4000))))
    assert apart(g, sure(coming_from.exact("distrax"))) < 5 and not too_noisy(g, coming_from.exact("distrax"))


def test_what_is_said_of_numpyro(key):
    """The second derivative of TraceGraph_ELBO's loss is not that of the expected loss, that of CreditELBO's is."""
    names = {}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        exec(run_page.program(TEXT, "ours", "numpyro"), names)
    objective, at = coming_from.PROBLEMS["numpyro"]
    right = np.array([
        (objective(np.array(at) + h) - 2 * objective(np.array(at)) + objective(np.array(at) - h)) / 1e-6
        for h in 1e-3 * np.eye(3)
    ])  # fmt: skip

    def twice(elbo, key):
        loss = lambda p: elbo(num_particles=8).loss(key, {"logits": p}, names["model"], names["guide"])
        return jnp.diag(jax.hessian(loss)(names["params"]))

    found = {
        elbo: serve.of_rows(np.asarray(jax.jit(jax.vmap(lambda k: twice(names[elbo], k)))(jax.random.split(key, 1000))))
        for elbo in ("TraceGraph_ELBO", "CreditELBO")
    }
    assert apart(found["CreditELBO"], sure(right)) < 5 and not too_noisy(found["CreditELBO"], right)
    assert np.all(np.asarray(found["TraceGraph_ELBO"]["mean"]) < 0) and np.all(right > 0.2)
