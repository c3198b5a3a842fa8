"""The CUDA kernels without a GPU: the same bodies compiled by a C++ compiler, 32 lanes to a value.

float32 in all widths, the half types for 32 channels: what differs between the rest is tested there.
"""

from pathlib import Path

import pytest

from attention_ops import build, cuda_backend, cuda_build, cuda_call

FLAGS = ("-x", "c++", "-std=c++17", "-O0", "-fPIC", "-fvisibility=hidden")
# The ops are tested twice, and the kernels do not depend on what is forced the second time.
once = pytest.mark.once
ONE_WIDTH = {"float16", "bfloat16"}


def compile_emulation(folder: Path) -> Path:
    """The emulated library in `folder`; compiles it if it is not there or not of these sources."""
    library = folder / f"emulation-{cuda_build.source_hash()}.so"
    if not library.exists():
        folder.mkdir(parents=True, exist_ok=True)
        build.link(library, _commands, [*build.find_compiler(), "-shared"])
    return library


def _commands(work):
    compiler = build.find_compiler()
    commands = {}
    for name, in_cpp in cuda_build.TYPES.items():
        options = [f"-DQV_TYPE={in_cpp}", f"-DQV_SERVE=qvc_{name}"]
        options += ["-DQV_WIDTH=32"] if name in ONE_WIDTH else []
        source = [*options, "-c", str(cuda_build.CSRC / "kernels.cu")]
        commands[work / f"{name}.o"] = [*compiler, *FLAGS, *source, "-o", str(work / f"{name}.o")]
    source = ['-DQV_SOURCE_HASH="emulated"', "-c", str(cuda_build.CSRC / "library.cu")]
    commands[work / "library.o"] = [*compiler, *FLAGS, *source, "-o", str(work / "library.o")]
    return commands


def emulate(monkeypatch, config):
    """Makes `cuda_backend` run the emulated kernels on tensors of the CPU; gives the library."""
    if build.find_compiler() is None:
        pytest.skip("no C++ compiler to emulate the CUDA kernels with")
    path = compile_emulation(Path(config.cache.mkdir("cuda_emulation")))
    library = cuda_call.open_library(path)
    monkeypatch.setattr(cuda_backend, "_LIBRARY", library)
    monkeypatch.setattr(cuda_backend, "LOAD_ERROR", None)
    monkeypatch.setattr(cuda_backend, "_DEVICE", "cpu")
    return library
