"""Every discrete distribution of distrax, NumPyro and TFP inside a lifted program: a right gradient, or a word that says where it is lost."""

import inspect
import itertools
import warnings

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from covering import covering

import jax_scorefn as sf

with warnings.catch_warnings():
    warnings.simplefilter("ignore")
    import distrax
    import numpyro.distributions as nd
    from tensorflow_probability.substrates.jax import distributions as tfd

pytestmark = [pytest.mark.usefixtures("foreign"), pytest.mark.filterwarnings("ignore")]

BITS, THREE, MANY = np.arange(2), np.arange(3), np.arange(200)
ROWS = np.array([row for row in itertools.product(range(4), repeat=3) if sum(row) == 3], np.float32)
ORDERS = np.array(list(itertools.permutations(range(3))), np.int32)
SUBSETS = np.array(list(itertools.product((0, 1), repeat=3)), np.int32)
MEANS = np.array([0.0, 1.0, -1.0], np.float32)
logits = lambda p: jnp.stack([p, 0.2 + 0 * p, -0.5 + 0 * p])
probs = lambda p: jax.nn.softmax(logits(p))

CHOICES = {  # in a lifted program their draws are choices: build(p), support
    "distrax.Bernoulli": (lambda p: distrax.Bernoulli(logits=p), BITS),
    "distrax.Categorical": (lambda p: distrax.Categorical(logits=logits(p)), THREE),
    "distrax.EpsilonGreedy": (lambda p: distrax.EpsilonGreedy(logits(p), jax.nn.sigmoid(p)), THREE),
    "distrax.OneHotCategorical": (lambda p: distrax.OneHotCategorical(logits=logits(p)), np.eye(3)),
    "distrax.Softmax": (lambda p: distrax.Softmax(logits(p)), THREE),
    "numpyro.BernoulliLogits": (lambda p: nd.BernoulliLogits(p), BITS),
    "numpyro.BernoulliProbs": (lambda p: nd.BernoulliProbs(jax.nn.sigmoid(p)), BITS),
    "numpyro.CategoricalLogits": (lambda p: nd.CategoricalLogits(logits(p)), THREE),
    "numpyro.CategoricalProbs": (lambda p: nd.CategoricalProbs(probs(p)), THREE),
    "numpyro.DirichletMultinomial": (lambda p: nd.DirichletMultinomial(jnp.exp(logits(p)), 3), ROWS),
    "numpyro.GammaPoisson": (lambda p: nd.GammaPoisson(jnp.exp(p), 1.0), MANY),
    "numpyro.MultinomialLogits": (lambda p: nd.MultinomialLogits(logits(p), 3), ROWS),
    "numpyro.MultinomialProbs": (lambda p: nd.MultinomialProbs(probs(p), 3), ROWS),
    "numpyro.NegativeBinomialLogits": (lambda p: nd.NegativeBinomialLogits(3.0, p - 1), MANY),
    "numpyro.NegativeBinomialProbs": (lambda p: nd.NegativeBinomialProbs(3.0, jax.nn.sigmoid(p - 1)), MANY),
    "numpyro.NegativeBinomial2": (lambda p: nd.NegativeBinomial2(jnp.exp(p), 3.0), MANY),
    "numpyro.OrderedLogistic": (lambda p: nd.OrderedLogistic(p, jnp.array([-1.0, 0.5])), THREE),
    "numpyro.Poisson": (lambda p: nd.Poisson(jnp.exp(p)), np.arange(60)),
    "numpyro.ZeroInflatedPoisson": (lambda p: nd.ZeroInflatedPoisson(jax.nn.sigmoid(p), jnp.exp(p)), np.arange(60)),
    "numpyro.BetaNegativeBinomial": (lambda p: nd.BetaNegativeBinomial(jnp.exp(p), 20.0, 2.0), np.arange(2000)),
    "numpyro.ZeroInflatedLogits": (lambda p: nd.ZeroInflatedLogits(nd.Poisson(jnp.exp(p)), p), np.arange(60)),
    "numpyro.ZeroInflatedProbs": (lambda p: nd.ZeroInflatedProbs(nd.Poisson(jnp.exp(p)), jax.nn.sigmoid(p)), np.arange(60)),
    "tfd.Bernoulli": (lambda p: tfd.Bernoulli(logits=p), BITS),
    "tfd.Categorical": (lambda p: tfd.Categorical(logits=logits(p)), THREE),
    "tfd.DeterminantalPointProcess": (lambda p: tfd.DeterminantalPointProcess(jnp.exp(logits(p)), jnp.eye(3)), SUBSETS),
    "tfd.FiniteDiscrete": (lambda p: tfd.FiniteDiscrete(jnp.array([0.0, 1.0, 3.0]), logits=logits(p)), np.float32([0, 1, 3])),
    "tfd.OneHotCategorical": (lambda p: tfd.OneHotCategorical(logits=logits(p)), np.eye(3, dtype=np.int32)),
    "tfd.MarkovChain": (lambda p: tfd.MarkovChain(tfd.Bernoulli(logits=p), lambda _, x: tfd.Bernoulli(logits=p * (1.0 + x)), 3), SUBSETS),
    "tfd.OrderedLogistic": (lambda p: tfd.OrderedLogistic(jnp.array([-1.0, 0.5]), p), THREE),
    "tfd.ProbitBernoulli": (lambda p: tfd.ProbitBernoulli(probits=p), BITS),
    "tfd.StoppingRatioLogistic": (lambda p: tfd.StoppingRatioLogistic(jnp.array([-1.0, 0.5]), p), THREE),
}  # fmt: skip
MIXED = {  # a choice of one of several densities
    "distrax.MixtureOfTwo": lambda p: distrax.MixtureOfTwo(jax.nn.sigmoid(p), distrax.Normal(p, 1.0), distrax.Normal(0.0, 0.5)),
    "distrax.MixtureSameFamily": lambda p: distrax.MixtureSameFamily(distrax.Categorical(logits=logits(p)), distrax.Normal(MEANS * p, 1.0)),
    "numpyro.MixtureGeneral": lambda p: nd.MixtureGeneral(nd.Categorical(logits=logits(p)[:2]), [nd.Normal(p, 1.0), nd.Normal(0.0, 0.5)]),
    "numpyro.MixtureSameFamily": lambda p: nd.MixtureSameFamily(nd.Categorical(logits=logits(p)), nd.Normal(MEANS * p, 1.0)),
    "tfd.HiddenMarkovModel": lambda p: tfd.HiddenMarkovModel(tfd.Categorical(logits=logits(p)), tfd.Categorical(logits=np.eye(3, dtype=np.float32) * p), tfd.Normal(MEANS * p, 1.0), 1),
    "tfd.Mixture": lambda p: tfd.Mixture(tfd.Categorical(logits=logits(p)[:2]), [tfd.Normal(p, 1.0), tfd.Normal(0.0, 0.5)]),
    "tfd.MixtureSameFamily": lambda p: tfd.MixtureSameFamily(tfd.Categorical(logits=logits(p)), tfd.Normal(MEANS * p, 1.0)),
}  # fmt: skip
GREEDY = {"distrax.EpsilonGreedy"}
"""Which option is the best one is a step of the parameters."""
ESCAPE = {  # draws that are written out in other ways
    "distrax.Quantized": lambda p: distrax.Quantized(distrax.Normal(p, 1.0)),
    "numpyro.BetaBinomial": lambda p: nd.BetaBinomial(jnp.exp(p), 2.0, 5),
    "numpyro.BinomialLogits": lambda p: nd.BinomialLogits(p, 5),
    "numpyro.BinomialProbs": lambda p: nd.BinomialProbs(jax.nn.sigmoid(p), 5),
    "numpyro.GeometricLogits": lambda p: nd.GeometricLogits(p),
    "numpyro.GeometricProbs": lambda p: nd.GeometricProbs(jax.nn.sigmoid(p)),
    "tfd.BetaBinomial": lambda p: tfd.BetaBinomial(5.0, jnp.exp(p), 2.0),
    "tfd.Binomial": lambda p: tfd.Binomial(5.0, logits=p),
    "tfd.DirichletMultinomial": lambda p: tfd.DirichletMultinomial(3.0, jnp.exp(logits(p))),
    "tfd.Geometric": lambda p: tfd.Geometric(logits=p),
    "tfd.Inflated": lambda p: tfd.Inflated(tfd.Poisson(log_rate=p), inflated_loc_logits=p),
    "tfd.Multinomial": lambda p: tfd.Multinomial(3.0, logits=logits(p)),
    "tfd.NegativeBinomial": lambda p: tfd.NegativeBinomial(3.0, logits=p - 1),
    "tfd.PlackettLuce": lambda p: tfd.PlackettLuce(jnp.exp(logits(p))),
    "tfd.Poisson": lambda p: tfd.Poisson(log_rate=p),
    "tfd.QuantizedDistribution": lambda p: tfd.QuantizedDistribution(tfd.Normal(p, 1.0)),
    "tfd.ZeroInflatedNegativeBinomial": lambda p: tfd.ZeroInflatedNegativeBinomial(
        inflated_loc_probs=0.3, total_count=3.0, logits=p - 1
    ),
    "tfd.Skellam": lambda p: tfd.Skellam(jnp.exp(p), 1.0),
    "tfd.Zipf": lambda p: tfd.Zipf(2.0 + jnp.exp(p)),
}
IN_PART = {"tfd.Inflated"}
"""Whether it is the value with a mass of its own is a choice; what is drawn otherwise escapes."""
IN_A_LOOP = {
    "numpyro.HurdleProbs": lambda p: nd.HurdleProbs(nd.Poisson(jnp.exp(p)), jax.nn.sigmoid(p)),
    "numpyro.HurdlePoisson": lambda p: nd.HurdlePoisson(jax.nn.sigmoid(p), jnp.exp(p)),
    "numpyro.HurdleLogits": lambda p: nd.HurdleLogits(nd.Poisson(jnp.exp(p)), p),
    "distrax.Multinomial": lambda p: distrax.Multinomial(logits=logits(p), total_count=3),
}
"""A choice in a while loop."""
AT = 0.4


def f(x):
    x = jnp.asarray(x).astype(jnp.float32)
    weights = jnp.arange(1.0, x.size + 1).reshape(x.shape)
    return jnp.sum(jnp.cos(0.7 * weights * x) + 0.1 * x)


def program(name, build):
    def run(p, key):
        return f(build(p).sample(key) if name.startswith("numpyro") else build(p).sample(seed=key))

    return sf.lift(run)


@pytest.mark.statistical
@pytest.mark.parametrize("name", covering(CHOICES, lambda name: name.partition(".")[0]))
def test_a_draw_is_a_choice(name):
    build, support = CHOICES[name]
    expected = lambda p: jnp.sum(jax.vmap(lambda x: jnp.exp(build(p).log_prob(x)) * f(x))(jnp.asarray(support)))
    lost = "warn" if name in GREEDY else "raise"
    run = jax.value_and_grad(sf.expectation(program(name, build), num_samples=32, lost=lost))
    runs = sf.testing.replicate(lambda key: run(AT, key), jax.random.key(1), 2000, batch=2000)
    exact = jax.value_and_grad(expected)(AT)
    sf.testing.assert_unbiased(runs, exact, precision=0.1)
    with pytest.raises(AssertionError, match="is biased|cannot be judged"):
        sf.testing.assert_unbiased((runs[0], np.zeros_like(runs[1])), exact, precision=0.1)


@pytest.mark.statistical
@pytest.mark.parametrize("name", covering(MIXED, lambda name: "of distrax" if name.startswith("distrax") else None))
def test_which_density_is_drawn_from_is_a_choice(name):
    build, grid = MIXED[name], jnp.linspace(-8.0, 8.0, 2001)
    step = grid[1] - grid[0]
    event = build(AT).event_shape
    log_prob = lambda p: jax.vmap(lambda x: build(p).log_prob(jnp.broadcast_to(x, event)))(grid)
    expected = lambda p: step * jnp.sum(jnp.exp(log_prob(p)) * jax.vmap(f)(grid))
    run = jax.value_and_grad(sf.expectation(program(name, build), num_samples=32, lost="raise"))
    runs = sf.testing.replicate(lambda key: run(AT, key), jax.random.key(1), 4000, batch=4000)
    sf.testing.assert_unbiased(runs, jax.value_and_grad(expected)(AT), precision=0.1)


@pytest.mark.parametrize("name", covering(ESCAPE))
def test_what_escapes_has_the_gradient_that_it_had_and_is_told_of(name):
    """A draw that is found one day belongs into the other table."""
    with pytest.warns(sf.LostGradientWarning, match="make it a choice: sf.sample") as caught:
        gradient = jax.grad(sf.expectation(program(name, ESCAPE[name]), num_samples=4))(AT, jax.random.key(0))
    assert gradient == 0.0 or name in IN_PART
    told = {(warning.filename, warning.lineno) for warning in caught if warning.category is sf.LostGradientWarning}
    assert told == {(__file__, inspect.getsourcelines(program)[1] + 2)}


@pytest.mark.parametrize("name", covering(IN_A_LOOP))
def test_a_choice_in_a_loop_without_an_end_is_refused(name):
    with pytest.raises(TypeError, match="inside of while"):
        jax.grad(sf.expectation(program(name, IN_A_LOOP[name])))(AT, jax.random.key(0))


DENSITIES = {
    "distrax": """Beta Dirichlet Gamma Gumbel Laplace LogStddevNormal Logistic MultivariateNormalDiag MultivariateNormalDiagPlusLowRank
        MultivariateNormalFromBijector MultivariateNormalFullCovariance MultivariateNormalTri Normal Uniform VonMises""",
    "tfd": """Bates Beta BetaQuotient Cauchy Chi Chi2 CholeskyLKJ ContinuousBernoulli Dirichlet DoublesidedMaxwell ExpGamma
        ExpInverseGamma ExpRelaxedOneHotCategorical Exponential ExponentiallyModifiedGaussian FlatDirichlet Gamma GammaGamma
        GaussianProcess GaussianProcessRegressionModel GeneralizedExtremeValue GeneralizedNormal GeneralizedPareto Gumbel HalfCauchy
        HalfNormal HalfStudentT Horseshoe InverseGamma InverseGaussian JohnsonSU Kumaraswamy LKJ LambertWNormal Laplace
        LinearGaussianStateSpaceModel LogLogistic LogNormal Logistic LogitNormal MatrixNormalLinearOperator MatrixTLinearOperator Moyal
        MultivariateNormalDiag MultivariateNormalDiagPlusLowRank MultivariateNormalDiagPlusLowRankCovariance
        MultivariateNormalFullCovariance MultivariateNormalLinearOperator MultivariateNormalTriL MultivariateStudentTLinearOperator
        NoncentralChi2 Normal NormalInverseGaussian PERT Pareto PowerSpherical RelaxedBernoulli RelaxedOneHotCategorical SigmoidBeta
        SinhArcsinh SphericalUniform StudentT StudentTProcess StudentTProcessRegressionModel Triangular TruncatedCauchy TruncatedNormal
        TwoPieceNormal TwoPieceStudentT Uniform VariationalGaussianProcess VonMises VonMisesFisher Weibull WishartLinearOperator
        WishartTriL""",
}
"""Continuous draws, which stay what they are."""
MADE_OF_OTHERS = {
    "distrax": "Clipped ClippedLogistic ClippedNormal Distribution Independent Joint Transformed",
    "tfd": """AutoCompositeTensorDistribution Autoregressive BatchBroadcast BatchConcat BatchReshape Blockwise Distribution Independent
        JointDistribution JointDistributionCoroutine JointDistributionCoroutineAutoBatched JointDistributionNamed
        JointDistributionNamedAutoBatched JointDistributionSequential JointDistributionSequentialAutoBatched LambertWDistribution Masked
        Sample TransformedDistribution""",
}
OTHER = {
    "distrax": "CategoricalUniform Deterministic Greedy",  # a density whose ends move, and no draws
    "numpyro": "DiscreteUniform",  # draws nothing that moves
    "tfd": "Deterministic Empirical PoissonLogNormalQuadratureCompound VectorDeterministic",  # the Poisson cannot be traced
}


@pytest.mark.parametrize("library", ["distrax", "numpyro", "tfd"])
def test_the_tables_have_every_distribution(library):
    """A new one has to be looked at. (Of NumPyro's, those of its files of discrete ones.)"""
    module, base = {
        "distrax": (distrax, distrax.Distribution),
        "numpyro": (nd, nd.Distribution),
        "tfd": (tfd, tfd.Distribution),
    }[library]
    there = {name: kind for name, kind in vars(module).items() if isinstance(kind, type) and issubclass(kind, base)}
    if library == "numpyro":
        discrete = {name for name, kind in there.items() if kind.__module__.endswith((".discrete", ".conjugate"))}
        there = discrete | {"MixtureGeneral", "MixtureSameFamily"}
    tables = (*CHOICES, *MIXED, *ESCAPE, *IN_A_LOOP)
    known = {name.partition(".")[2] for name in tables if name.startswith(library)}
    for table in (DENSITIES, MADE_OF_OTHERS, OTHER):
        known |= set(table.get(library, "").split())
    assert known == set(there)
