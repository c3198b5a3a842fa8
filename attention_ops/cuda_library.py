"""Where the CUDA library lies, and why it is not there.

Asks torch whether there is a device; starts nothing on it.
"""

import ctypes
from pathlib import Path

import torch

from attention_ops import build, cuda_build
from attention_ops.cuda_call import open_library


def library_paths() -> tuple[Path, Path]:
    """Where a library may lie, in the order they are tried."""
    cache = build.cache_root() / cuda_build.source_hash()
    return cuda_build.PACKAGE / cuda_build.LIBRARY, cache / cuda_build.LIBRARY


def _open(path: Path) -> ctypes.CDLL:
    """The library at `path`.

    Raises:
        OSError: it cannot be loaded, was built from other sources than the installed ones, or for a
            newer driver than there is.
    """
    if not cuda_build.is_current(path):
        raise OSError(
            f"{path} was built from other sources than the installed ones; "
            "run `python -m attention_ops build --cuda`"
        )
    library = open_library(path)
    driver, runtime = library.qvc_driver_version(), library.qvc_runtime_version()
    if driver // 1000 < runtime // 1000:
        raise OSError(
            f"the driver knows CUDA {_dotted(driver)} and the library needs {_dotted(runtime)}; "
            "update the driver, or build with an older nvcc"
        )
    return library


def _dotted(version: int) -> str:
    return f"{version // 1000}.{version % 1000 // 10}"


def load() -> tuple[ctypes.CDLL | None, str | None]:
    """The library, or None and the reason in one line."""
    if torch.cuda.device_count() == 0:
        built = f"torch {torch.__version__} is built " + (
            "with" if torch.version.cuda else "without"
        )
        return None, f"no CUDA device ({built} CUDA)"
    reasons = []
    for path in library_paths():
        if not path.exists():
            continue
        try:
            return _open(path), None
        except (OSError, AttributeError) as error:
            reasons.append(f"load failed: {error}")
    if reasons:
        return None, "; ".join(reasons).replace("\n", " ")
    if cuda_build.find_nvcc() is None:
        return None, "not built and no nvcc found (tried $NVCC, $CUDA_HOME, nvcc, /usr/local/cuda)"
    return None, "not built: run `python -m attention_ops build --cuda`"
