"""Which implementation of the sparse ops runs: what is there, why not the others, force one.

reference: the specification, slow. portable: tiles of plain PyTorch, any device and dtype.
native: compiled C++, float32 and bfloat16 on CPU.
"""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from types import ModuleType

from torch import Tensor

from attention_ops import chunked, native, reference
from attention_ops._checks import check_choice

NAMES = ("reference", "portable", "native")


_forced: str | None = os.environ.get("QUADVIEW_BACKEND") or None
if _forced is not None:
    check_choice("QUADVIEW_BACKEND", _forced, NAMES)


def backends() -> dict[str, str]:
    """Each backend with "ready" or the reason it is not there."""
    return {"reference": "ready", "portable": "ready", "native": native.LOAD_ERROR or "ready"}


def current_backend() -> str:
    """The backend that the next call on float32 CPU tensors will use."""
    return _forced or ("native" if native.LOAD_ERROR is None else "portable")


@contextmanager
def use_backend(name: str) -> Iterator[None]:
    """Uses one backend inside the block.

    Raises:
        ValueError: no backend has that name.
        RuntimeError: that backend is not there; the message has the reason.
    """
    global _forced  # noqa: PLW0603  a ContextVar would break torch.compile(fullgraph=True)
    check_choice("backend", name, NAMES)
    _refuse_missing(name)
    before, _forced = _forced, name
    try:
        yield
    finally:
        _forced = before


def implementation(query: Tensor) -> ModuleType:
    """The module whose functions shall serve a call with this query.

    Raises:
        RuntimeError: the forced backend is not there or cannot take this tensor.
    """
    suits_native = query.device.type == "cpu" and query.dtype in native.DTYPES
    if _forced == "reference":
        return reference
    if _forced == "portable":
        return chunked
    if _forced == "native":
        _refuse_missing("native")
        if not suits_native:
            raise RuntimeError(
                f"backend 'native' takes float32 and bfloat16 on CPU, got {query.dtype} on "
                f"{query.device}; use the backend 'portable'"
            )
    return native if suits_native and native.LOAD_ERROR is None else chunked


def _refuse_missing(name: str) -> None:
    if backends()[name] != "ready":
        raise RuntimeError(
            f"backend {name!r} is not there ({backends()[name]}); "
            "build it with: python -m attention_ops build"
        )
