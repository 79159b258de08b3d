"""The progress bar: seen where it is wanted, nothing where it is not, and a word where rich is missing."""

import importlib.util
import sys

import jax
import pytest

import jax_scorefn as sf
from jax_scorefn._progress import bar

pytest.importorskip("rich")


@pytest.mark.parametrize(("transient", "stream"), [(False, "out"), (True, "err")])
def test_it_shows_what_is_done_and_the_words(capsys, monkeypatch, transient, stream):
    monkeypatch.setenv("FORCE_COLOR", "1")  # as in a terminal, where a transient bar is drawn before it goes
    with bar("begun", 3, wanted=True, missing="", transient=transient) as show:
        show(2, "[a metric] 0.5")
    seen = capsys.readouterr()
    assert "2/3" in getattr(seen, stream) and "[a metric] 0.5" in getattr(seen, stream)
    assert not getattr(seen, "err" if stream == "out" else "out").strip()


@pytest.mark.parametrize("terminal", [False, True])
@pytest.mark.parametrize("there", [False, True])
@pytest.mark.parametrize("wanted", [False, None, True])
def test_where_it_is_shown(capsys, monkeypatch, wanted, there, terminal):
    monkeypatch.setattr(sys.stderr, "isatty", lambda: terminal)
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: there or None)
    if wanted and not there:
        with pytest.raises(ImportError, match="install it"), bar("begun", 3, wanted=wanted, missing="install it"):
            pass
        return
    with bar("begun", 3, wanted=wanted, missing="install it") as show:
        show(1, "on")
    assert ("1/3" in capsys.readouterr().out) == bool(wanted or (wanted is None and there and terminal))


def test_an_audit_shows_the_estimator_and_names_what_is_missing(capsys, monkeypatch):
    run = lambda: sf.audit(
        lambda x: x**2, sf.family(lambda m: sf.Normal(loc=m, scale=1.0)), 0.3, jax.random.key(0), estimators=["pathwise"], budget=1000,
        progress=True,
    )  # fmt: skip
    monkeypatch.setenv("FORCE_COLOR", "1")
    run()
    seen = capsys.readouterr()
    assert "pathwise" in seen.err and "0/1" in seen.err and not seen.out
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(ImportError, match="progress bar of an audit needs rich: pip install rich"):
        run()
