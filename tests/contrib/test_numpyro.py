"""NumPyro's models and guides: exact means over all outcomes, against sums written by hand; noise; SVI; and what is refused."""

import warnings

import jax
import jax.numpy as jnp
import numpy as np
import outcomes
import pytest

import jax_scorefn as sf

with warnings.catch_warnings():
    warnings.simplefilter("ignore")
    import funsor
    import numpyro
    import numpyro.distributions as nd
    from numpyro import handlers
    from numpyro.contrib.control_flow import scan
    from numpyro.infer import SVI, TraceEnum_ELBO, TraceGraph_ELBO
    from numpyro.primitives import mutable
    from numpyro_cases import (
        MIXTURE,
        ROWS,
        SCALE,
        SHIFT,
        TOPICS,
        Given,
        log_mass,
        mixture_by_hand,
        mixture_guide,
        mixture_model,
        shift_by_hand,
        shift_guide,
        shift_model,
        topic_guide,
        topic_model,
        topics_by_hand,
    )

    from jax_scorefn.contrib.numpyro import CreditELBO, as_choices

pytestmark = pytest.mark.usefixtures("foreign")
KEY = jax.random.PRNGKey(3)


PROGRAMS = {
    "topics": (topic_model, topic_guide, topics_by_hand, TOPICS, 8),
    "mixture": (mixture_model, mixture_guide, mixture_by_hand, MIXTURE, 3),
}


def flat(tree):
    return jnp.concatenate([jnp.ravel(x) for x in jax.tree.leaves(tree)])


def wide(tree):
    return jax.tree.map(lambda x: x.astype(float), tree)


def exact_loss(by_hand, bits):
    def one(p, row):
        log_q, loss = by_hand(p, row)
        return jnp.exp(log_q) * loss

    return lambda p: jax.vmap(one, (None, 0))(p, bits).sum()


def derivatives(name, elbo, hessian=False):
    """Value, gradient (and Hessian) of the loss at each outcome, the weights of the outcomes, and the exact ones."""
    model, guide, by_hand, initial, number = PROGRAMS[name]
    start, unravel = jax.flatten_util.ravel_pytree(wide(initial))
    rows = outcomes.all_bits(number)

    def taken(f):
        parts = (jax.value_and_grad(f)(start), jax.hessian(f)(start) if hessian else ())
        return flat(parts)

    each = lambda row: taken(lambda x: elbo.loss(KEY, unravel(x), model, guide, row))
    exact = exact_loss(by_hand, rows)
    weights = jnp.exp(jax.vmap(lambda row: by_hand(unravel(start), row)[0])(rows))
    return jax.jit(lambda: (jax.vmap(each)(rows), weights, taken(lambda x: exact(unravel(x)))))()


@pytest.mark.usefixtures("x64")
@pytest.mark.parametrize("name", PROGRAMS)
@pytest.mark.default
def test_value_gradient_and_hessian_are_exact_on_the_mean_over_all_outcomes(name):
    runs, weights, exact = derivatives(name, CreditELBO(), hessian=name == "mixture")
    np.testing.assert_allclose(weights.sum(), 1.0, rtol=1e-12)
    np.testing.assert_allclose(weights @ runs, exact, rtol=1e-9, atol=1e-10)


@pytest.mark.usefixtures("x64")
def test_a_score_that_goes_to_another_element_is_seen(monkeypatch):
    outcomes.roll_scores(monkeypatch)
    runs, weights, exact = derivatives("mixture", CreditELBO())
    assert np.max(np.abs(weights @ runs - exact)) > 0.05


@pytest.mark.usefixtures("x64")
def test_a_guide_of_a_normal_and_bits_is_exact_on_the_mean_over_noise_and_outcomes():
    start, unravel = jax.flatten_util.ravel_pytree(wide(SHIFT))
    rows = outcomes.all_bits(2)
    nodes, weights = np.polynomial.hermite_e.hermegauss(24)
    noise, bits = jnp.repeat(jnp.asarray(nodes), 4), jnp.tile(rows, (24, 1))
    grid, outcome = jnp.repeat(jnp.linspace(-6.0, 6.0, 241), 4), jnp.tile(rows, (241, 1))
    elbo = CreditELBO()

    @jax.jit
    def both():
        loss = lambda x, e, b: elbo.loss(KEY, unravel(x), shift_model, shift_guide, e, b)
        runs = jax.vmap(jax.value_and_grad(loss), (None, 0, 0))(start, noise, bits)
        p = unravel(start)
        shift = p["loc"] + jnp.exp(p["log scale"]) * noise
        masses = jnp.exp(jax.vmap(lambda s, b: shift_by_hand(p, s, b)[1])(shift, bits))

        def exact(x):  # the density is differentiated, at points that stay where they are
            log_q, _, value = jax.vmap(shift_by_hand, (None, 0, 0))(unravel(x), grid, outcome)
            return 0.05 * jnp.sum(jnp.exp(log_q) * value)

        return jnp.c_[runs[0], runs[1]], masses, flat(jax.value_and_grad(exact)(start))

    runs, masses, exact = both()
    mean = (np.repeat(weights, 4) / weights.sum() * masses) @ runs
    np.testing.assert_allclose(mean, exact, rtol=1e-6, atol=1e-7)


@pytest.mark.usefixtures("x64")
def test_a_subsample_is_scaled_and_the_score_of_its_draws_is_not():
    """All subsamples of two rows of three, and all outcomes of each: the mean is the gradient with all rows."""
    initial = {"means": jnp.array([-0.8, 1.1]), "of z": jnp.array([0.2, -0.6, 0.9])}

    def model(bits, rows):
        means = numpyro.param("means", initial["means"])
        with numpyro.plate("rows", 3, subsample_size=2) as which:
            z = numpyro.sample("z", nd.Bernoulli(0.6))
            numpyro.sample("x", nd.Normal(means[z], 1.0), obs=ROWS[which])

    def guide(bits, rows):
        logits = numpyro.param("of z", initial["of z"])
        with handlers.substitute(data={"rows": rows}), numpyro.plate("rows", 3, subsample_size=2) as which:
            numpyro.sample("z", Given(logits[which], bits))

    start, unravel = jax.flatten_util.ravel_pytree(wide(initial))
    rows = jnp.repeat(jnp.array([[0, 1], [0, 2], [1, 2]]), 4, axis=0)
    bits = jnp.tile(outcomes.all_bits(2), (3, 1))
    elbo = CreditELBO()

    def by_hand(p, z):
        x = -0.5 * (ROWS - p["means"][z.astype(int)]) ** 2 - 0.5 * jnp.log(2 * jnp.pi)
        of_z = log_mass(z, p["of z"])
        return of_z.sum(), (of_z - x - jnp.log(jnp.where(z > 0, 0.6, 0.4))).sum()

    @jax.jit
    def both():
        loss = lambda x, b, r: elbo.loss(KEY, unravel(x), model, guide, b, r)
        runs = jax.vmap(jax.value_and_grad(loss), (None, 0, 0))(start, bits, rows)
        masses = jnp.exp(log_mass(bits, unravel(start)["of z"][rows]).sum(axis=1))
        exact = exact_loss(by_hand, outcomes.all_bits(3))
        return jnp.c_[runs[0], runs[1]], masses, flat(jax.value_and_grad(lambda x: exact(unravel(x)))(start))

    runs, masses, exact = both()
    np.testing.assert_allclose(masses @ runs / 3, exact, rtol=1e-9)


def test_the_other_particles_are_a_baseline_with_less_noise_than_trace_graph():
    # c leaves z alone
    start, unravel = jax.flatten_util.ravel_pytree(TOPICS | {"follow": jnp.array(0.0)})
    own_too = lambda values: jnp.broadcast_to(
        values.mean(axis=0), values.shape
    )  # a baseline that includes its own draw
    losses = [CreditELBO(4), TraceGraph_ELBO(4), CreditELBO(4, baseline=own_too)]

    @jax.jit
    def gradients(keys):
        loss = lambda x, key, elbo: elbo.loss(key, unravel(x), topic_model, topic_guide, None)
        return [jax.vmap(lambda key, e=elbo: jax.grad(loss)(start, key, e))(keys) for elbo in losses]

    credit, graph, broken = jax.device_get(gradients(jax.random.split(jax.random.PRNGKey(0), 8000)))
    exact = jax.jit(jax.grad(lambda x: exact_loss(topics_by_hand, outcomes.all_bits(8))(unravel(x))))(start)
    for runs in (credit, graph):
        sf.testing.assert_unbiased(runs, exact, precision=0.1)
    with pytest.raises(AssertionError):
        sf.testing.assert_unbiased(broken, exact, precision=0.1)
    ratio = credit.var(axis=0).sum() / graph.var(axis=0).sum()
    assert ratio < 0.75, ratio


@pytest.mark.slow
def test_svi_finds_the_posterior_where_no_noise_is_left():
    svi = SVI(mixture_model, mixture_guide, numpyro.optim.Adam(0.05), CreditELBO(num_particles=4))
    found = svi.run(jax.random.PRNGKey(0), 800, None, fixed=MIXTURE, progress_bar=False)
    normal = -0.5 * (ROWS[:, None] - MIXTURE["means"]) ** 2 - 0.5 * jnp.log(2 * jnp.pi)
    joint = normal + jax.nn.log_sigmoid(MIXTURE["weight"] * jnp.array([-1.0, 1.0]))
    np.testing.assert_allclose(found.params["of z"], joint[:, 1] - joint[:, 0], atol=0.02)
    evidence = jnp.sum(SCALE * jax.nn.logsumexp(joint, axis=1))
    np.testing.assert_allclose(svi.evaluate(found.state, None, fixed=MIXTURE), -evidence, rtol=1e-4)


@pytest.mark.usefixtures("x64")
def test_a_summed_site_is_exact_and_chunks_of_particles_are_the_same():
    p = wide(MIXTURE)
    summed = CreditELBO(estimators={"z": "exact"})
    loss = lambda p, elbo: elbo.loss(KEY, p, mixture_model, mixture_guide, None)
    start, unravel = jax.flatten_util.ravel_pytree(p)

    def taken(f):
        return flat((jax.value_and_grad(f)(start), jax.hessian(f)(start)))

    exact = exact_loss(mixture_by_hand, outcomes.all_bits(3))
    got, wanted = jax.jit(lambda: [taken(lambda x: f(unravel(x))) for f in (lambda p: loss(p, summed), exact)])()
    np.testing.assert_allclose(got, wanted, rtol=1e-9, atol=1e-10)
    each = [jax.jit(jax.value_and_grad(lambda p, e=elbo: loss(p, e)))(p) for elbo in (CreditELBO(3), CreditELBO(3, 2))]
    np.testing.assert_allclose(flat(each[0]), flat(each[1]), rtol=1e-9)


@pytest.mark.slow
@pytest.mark.usefixtures("x64")
def test_summed_sites_are_those_of_trace_enum():
    funsor.set_backend("jax")
    latent = lambda site: {"enumerate": "parallel"} if site["type"] == "sample" and not site["is_observed"] else {}
    enumerated = handlers.infer_config(topic_guide, config_fn=latent)
    enum, summed = TraceEnum_ELBO(max_plate_nesting=2), CreditELBO(estimators={"c": "exact", "z": "exact"})
    theirs = jax.value_and_grad(lambda p: enum.loss(KEY, p, topic_model, enumerated, None))(wide(TOPICS))
    ours = jax.jit(jax.value_and_grad(lambda p: summed.loss(KEY, p, topic_model, topic_guide, None)))(wide(TOPICS))
    np.testing.assert_allclose(flat(ours), flat(theirs), rtol=1e-9, atol=1e-12)


def test_what_is_charged_is_shown(capsys):
    found = CreditELBO().explain(KEY, TOPICS, topic_model, topic_guide, None)
    charged = [cost.charged for cost in found.costs]
    assert {"c": "axis 0 equal; at equal", "z": "axis 0 equal; axis 1 equal"} in charged
    assert all(words.startswith("axis 0 equal") for cost in charged for words in cost.values())
    assert not found.fallbacks


def chain(logits, length=3):
    def step(carry, x):
        z = numpyro.sample("z", nd.Bernoulli(logits=logits + carry))
        return z.astype(float), z

    return scan(step, jnp.array(0.0), jnp.arange(length))[1]


def test_choices_stand_in_a_scan_and_outside_of_seed():
    def program(logits, key):
        return (jnp.cumsum(handlers.seed(as_choices(chain), key)(logits)) ** 2.0).sum()

    def exact(logits):
        total = 0.0
        for bits in outcomes.all_bits(3):
            before = jnp.concatenate([jnp.zeros(1), bits[:-1]])
            total += jnp.exp(log_mass(bits, logits + before).sum()) * (jnp.cumsum(bits) ** 2).sum()
        return total

    grad = jax.grad(sf.expectation(program, num_samples=4))
    runs = jax.jit(jax.vmap(grad, (None, 0)))(0.3, jax.random.split(jax.random.key(0), 4000))
    sf.testing.assert_unbiased(runs, jax.jit(jax.grad(exact))(0.3), precision=0.05)
    alone = jax.jit(lambda: [handlers.seed(fn, jax.random.key(1))(0.3) for fn in (as_choices(chain), chain)])
    assert all(set(np.unique(x)) <= {0, 1} for x in alone())
    with pytest.raises(TypeError, match="The choice z was differentiated .* outside of sf.expectation"):
        jax.grad(program)(0.3, jax.random.key(0))


def test_a_scan_in_guide_and_model():
    def model(logits):
        z = chain(jnp.array(0.2))
        numpyro.sample("x", nd.Normal(z.sum() * 1.0, 1.0), obs=1.4)

    def guide(logits):
        chain(numpyro.param("l", jnp.array(0.1)))

    def exact(l):
        total = 0.0
        for bits in outcomes.all_bits(3):
            before = jnp.concatenate([jnp.zeros(1), bits[:-1]])
            log_q, log_p = log_mass(bits, l + before).sum(), log_mass(bits, 0.2 + before).sum()
            x = -0.5 * (bits.sum() - 1.4) ** 2 - 0.5 * jnp.log(2 * jnp.pi)
            total += jnp.exp(log_q) * (log_q - log_p - x)
        return total

    grad = jax.value_and_grad(lambda l, key: CreditELBO(4).loss(key, {"l": l}, model, guide, None))
    values, runs = jax.jit(jax.vmap(grad, (None, 0)))(jnp.array(0.1), jax.random.split(jax.random.key(0), 4000))
    value, slope = jax.jit(jax.value_and_grad(exact))(0.1)
    sf.testing.assert_unbiased(values, value, precision=0.05)
    sf.testing.assert_unbiased(runs, slope, precision=0.1)


def test_a_continuous_site_by_score_and_a_batch_without_a_plate():
    def model():
        numpyro.sample("x", nd.Normal(0.0, 1.0), sample_shape=(2,))

    def guide():
        loc = numpyro.param("loc", jnp.array(0.5))
        numpyro.sample("x", nd.Normal(loc, 1.0), sample_shape=(2,))

    loss = lambda p, key: CreditELBO(4, estimators={"x": "score_function"}).loss(key, p, model, guide)
    runs = jax.jit(jax.vmap(jax.grad(loss), (None, 0)))({"loc": 0.5}, jax.random.split(jax.random.key(0), 2000))
    sf.testing.assert_unbiased(runs["loc"], 1.0, precision=0.05)
    assert runs["loc"].std() > 0.01  # along the path there is no noise here but that of x


def refused(error, match, model, guide, elbo=None):
    with pytest.raises(error, match=match):
        jax.eval_shape(lambda: (elbo or CreditELBO()).loss(KEY, {}, model, guide))


def bit():
    numpyro.sample("z", nd.Bernoulli(0.3))


def test_what_is_not_possible_is_refused_by_name():
    enumerated = handlers.infer_config(bit, config_fn=lambda site: {"enumerate": "parallel"})
    refused(ValueError, r"enumerates no site.*, and z of the guide asked.*estimators=\{'z': 'exact'\}", bit, enumerated)
    hidden = lambda: numpyro.sample("z", nd.Bernoulli(0.3), infer={"enumerate": "parallel"})
    refused(ValueError, "and z of the model asked for it", hidden, lambda: None)

    def counted():
        mutable("steps", {"n": 0})
        bit()

    refused(NotImplementedError, "keeps no mutable state.*; the guide has steps.", counted, counted)
    svi = SVI(counted, bit, numpyro.optim.Adam(0.1), CreditELBO())
    with pytest.raises(NotImplementedError, match="keeps no mutable state.*; the model has steps."):
        svi.update(svi.init(KEY))
    with pytest.raises(NotImplementedError, match="keeps no mutable state, as TraceGraph_ELBO does not. Make"):
        CreditELBO().loss_with_mutable_state(KEY, {}, bit, bit)
    refused(
        ValueError,
        "names y, drawn neither by .* drawn are: z.",
        bit,
        bit,
        CreditELBO(estimators={"y": "score_function"}),
    )
    refused(ValueError, "sample has no estimator 'scores'", bit, bit, CreditELBO(estimators={"z": "scores"}))
    refused(TypeError, "pathwise' needs reparameterized draws", bit, bit, CreditELBO(estimators={"z": "pathwise"}))
    with pytest.raises(ValueError, match="vectorize_particles is True .* it was <function"):
        CreditELBO(4, jax.pmap)
    with pytest.raises(ValueError, match="The choice z has no key. Run the function under numpyro.handlers.seed"):
        as_choices(bit)()
    in_plate = numpyro.plate("rows", 3)
    with pytest.raises(ValueError, match=r"z was drawn with the batch shape \(\), and .* made it \(3,\)"), in_plate:
        handlers.seed(as_choices(bit), 0)()
    inside = lambda: numpyro.sample("z", nd.ZeroInflatedDistribution(nd.Poisson(2.0).mask(False), gate=0.3))
    with pytest.raises(ValueError, match="z has a mask inside of ZeroInflated"):
        handlers.seed(as_choices(inside), 0)()


def test_masks_hide_a_choice_from_costs_and_not_from_its_score():
    """Also those that stand inside of a sum over coordinates."""

    def program(logits, key):
        def draws():
            with handlers.mask(mask=jnp.array([True, False])):
                a = numpyro.sample("a", nd.Bernoulli(logits=logits).expand([2]))
            b = numpyro.sample("b", nd.Bernoulli(logits=logits).expand([2]).mask(False).to_event(1))
            return a, b

        a, b = handlers.seed(as_choices(draws), key)()
        return (a * 1.0).sum() + (b * 2.0).sum()

    runs = jax.jit(jax.vmap(jax.grad(sf.expectation(program)), (None, 0)))(
        0.3, jax.random.split(jax.random.key(0), 4000)
    )
    p = jax.nn.sigmoid(0.3)
    sf.testing.assert_unbiased(runs, 6.0 * p * (1 - p), precision=0.1)


def test_a_logit_of_0_in_a_model_has_its_derivative():
    """Where training of a logistic regression starts, and NumPyro's own log-probability has another."""
    x, y = jnp.array([1.0, -2.0, 0.5]), jnp.array([1, 0, 1])

    def model():
        weight = numpyro.param("weight", 0.0)
        with numpyro.plate("rows", 3):
            numpyro.sample("y", nd.Bernoulli(logits=weight * x), obs=y)

    g = jax.grad(lambda p: CreditELBO().loss(jax.random.key(0), p, model, lambda: None))({"weight": jnp.zeros(())})
    np.testing.assert_allclose(g["weight"], -((y - 0.5) * x).sum(), rtol=1e-6)


CONTINUOUS = {
    "beta": (nd.Beta(2.0, 2.0), lambda a: nd.Beta(a, 2.0)),
    "gamma": (nd.Gamma(2.0, 1.0), lambda a: nd.Gamma(a, 1.0)),
    "uniform": (nd.Uniform(0.0, 1.0), lambda a: nd.Beta(a, a)),
    "dirichlet": (nd.Dirichlet(np.ones(3)), lambda a: nd.Dirichlet(a * jnp.ones(3))),
    "weibull": (nd.HalfNormal(1.0), lambda a: nd.Weibull(a, 1.0)),
    "inverse gamma": (nd.InverseGamma(2.0, 1.0), lambda a: nd.LogNormal(a, 1.0)),
}


@pytest.mark.parametrize("name", CONTINUOUS)
def test_what_checks_a_support_loses_no_derivative(name):
    """NumPyro's log_prob is where(inside, log p, -inf); warnings are errors here."""
    prior, guided = CONTINUOUS[name]

    def model(x):
        z = numpyro.sample("z", prior)
        numpyro.sample("x", nd.Normal(jnp.sum(z), 1.0), obs=x)

    def guide(x):
        del x
        numpyro.sample("z", guided(numpyro.param("a", jnp.array(2.0), constraint=nd.constraints.positive)))

    loss = lambda a: CreditELBO(num_particles=2).loss(jax.random.key(0), {"a": a}, model, guide, 1.0)
    assert np.isfinite(jax.grad(loss)(2.0))
