"""Amounts as the API server of Kubernetes writes them: in the largest unit that leaves them whole. Pure."""

from collections.abc import Sequence


def cores(thousandths: int) -> str:
    """``500m``, ``2``."""
    return _shortened(thousandths, 1000, ("m", "", "k", "M", "G"))


def mebibytes(number: int) -> str:
    """``256Mi``, ``1Gi``."""
    return _shortened(number, 1024, ("Mi", "Gi", "Ti", "Pi", "Ei"))


def gibibytes(number: int) -> str:
    return mebibytes(number * 1024)


def whole(number: int) -> str:
    """A number of things: 2000 of them are ``2k``."""
    return cores(number * 1000)


def _shortened(number: int, base: int, units: Sequence[str]) -> str:
    if number == 0:
        return "0"
    unit, *larger = units
    return _shortened(number // base, base, larger) if larger and number % base == 0 else f"{number}{unit}"
