"""Numbers as people read them: three digits, powers of ten as powers, an error beside its number."""

from __future__ import annotations

import math

_SUPERSCRIPT = str.maketrans("-0123456789", "⁻⁰¹²³⁴⁵⁶⁷⁸⁹")


def power(exponent: int) -> str:
    """10 to an exponent, as in 10⁻⁹."""
    return "10" + str(exponent).translate(_SUPERSCRIPT)


def number(x: float, digits: int = 3) -> str:
    """A number to so many significant digits."""
    if x == 0:
        return "0"
    if not math.isfinite(x):
        return "∞" if x > 0 else "−∞" if x < 0 else "not a number"
    exponent = math.floor(math.log10(abs(float(f"{x:.{digits - 1}e}"))))
    if -3 <= exponent < 5:
        return f"{x:,.{max(digits - 1 - exponent, 0)}f}".replace("-", "−").replace(",", "\u2009")
    mantissa = f"{x / 10.0**exponent:.{digits - 1}f}".replace("-", "−")
    return f"{mantissa} × {power(exponent)}"


def with_error(x: float, error: float) -> str:
    """A number and its standard error, as precise as the error allows; four digits where it is beyond notice."""
    if x == 0 or error == 0 or not math.isfinite(x) or not math.isfinite(error):
        return number(x)
    if error < 5e-4 * abs(x):
        return number(x, 4)
    exponent = math.floor(math.log10(abs(x)))
    plain = -3 <= exponent < 5
    scale = 1.0 if plain else 10.0**exponent
    decimals = max(0, 1 - math.floor(math.log10(error / scale)))
    text = f"{x / scale:,.{decimals}f} ± {error / scale:,.{decimals}f}".replace("-", "−").replace(",", "\u2009")
    return text if plain else f"({text}) × {power(exponent)}"


def times(ratio: float) -> str:
    """How many times, as in 2.5 or 12 million."""
    if not math.isfinite(ratio):
        return number(ratio)
    for size, name in ((1e9, "billion"), (1e6, "million")):
        if ratio >= size:
            return f"{ratio / size:.2g} {name}" if ratio / size < 100 else f"{ratio / size:.0f} {name}"
    if ratio >= 100:
        return f"{float(f'{ratio:.2g}'):,.0f}".replace(",", "\u2009")
    return f"{ratio:.2g}" if ratio < 10 else f"{ratio:.0f}"


def listed(names: list[str]) -> str:
    """a, b and c."""
    return names[0] if len(names) == 1 else f"{', '.join(names[:-1])} and {names[-1]}"


def plural(count: int, noun: str) -> str:
    """1 cell, 2 cells."""
    return f"{count} {noun}{'' if count == 1 else 's'}"
