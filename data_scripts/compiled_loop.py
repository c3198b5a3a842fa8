"""Loops compiled by numba on their first call, kept on disk for later processes where a disk takes them."""

from collections.abc import Callable
from typing import Any, TypeVar, cast

from numba import njit

Function = TypeVar("Function", bound=Callable[..., Any])

# Other threads run meanwhile, and a division by zero gives what NumPy gives, without a check.
SETTINGS: dict[str, Any] = {"nogil": True, "error_model": "numpy"}


def compiled(**settings: Any) -> Callable[[Function], Function]:
    """Decorator, with settings of `numba.njit` beside those above.

    Where neither the folder of the source nor the user's cache can be written (a read-only image, no home),
    numba refuses to keep what it compiles; then each process compiles for itself.
    """

    def decorate(function: Function) -> Function:
        try:
            return cast(Function, njit(cache=True, **SETTINGS, **settings)(function))
        except RuntimeError:  # "no locator available"
            return cast(Function, njit(**SETTINGS, **settings)(function))

    return decorate
