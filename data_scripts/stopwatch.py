"""How long something took, told apart from the compiling that only its first run in an installation does."""

import time
from contextlib import ExitStack
from types import TracebackType

from numba.core.event import TimingListener, install_listener


class Stopwatch:
    """Times a `with` block; as text "1.82 s", or with a word on how long loops were compiled.

    Attributes:
        seconds: of the block, less those of compiling; as long as it ran, where it raised.
        compiling: seconds in which numba compiled loops; 0 where it found them on disk.
    """

    def __init__(self) -> None:
        self.seconds = 0.0
        self.compiling = 0.0
        self._listening = ExitStack()

    def __enter__(self) -> "Stopwatch":
        self._compiler = self._listening.enter_context(
            install_listener("numba:compile", TimingListener())
        )
        self._start = time.perf_counter()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        whole = time.perf_counter() - self._start
        self._listening.close()
        self.compiling = self._compiler.duration if self._compiler.done else 0.0
        self.seconds = whole - self.compiling

    def __str__(self) -> str:
        took = f"{self.seconds:.2f} s"
        if not self.compiling:
            return took
        return f"{took} (and {self.compiling:.0f} s to compile loops, once in an installation)"
