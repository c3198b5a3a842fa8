"""Builds the compiled ops: finds a C++ compiler, compiles `csrc` once per instruction set, links.

Imports nothing of this package, so that setup.py can load it by its path before anything is
installed. Knows nothing of torch: the library has a plain C interface. What is compiled for CUDA
stands in `cuda_build`; it is run from here.
"""

import argparse
import hashlib
import importlib
import os
import platform
import shlex
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

PACKAGE = Path(__file__).resolve().parent
LIBRARY = "_kernels.dylib" if sys.platform == "darwin" else "_kernels.so"
COMPILERS = ("c++", "g++", "clang++")
# The kernels spell out their vectors; contraction into fused multiply-adds is all they ask of the
# compiler. -ffast-math would break the -inf of masks.
FLAGS = ("-std=c++17", "-O3", "-fPIC", "-fvisibility=hidden", "-ffp-contract=fast", "-pthread")
PER_SET = ("kernels.cpp", "sampling.cpp")  # compiled for each instruction set
ONCE = ("library.cpp", "sampling_library.cpp")
AVX2 = ("-mavx2", "-mfma")
AVX512 = (*AVX2, "-mavx512f", "-mavx512bw", "-mavx512dq", "-mavx512vl")


class BuildError(RuntimeError):
    """The library could not be built; the message says why."""


def source_hash(csrc: Path = PACKAGE / "csrc") -> str:
    """Names a state of the sources: 16 hexadecimal digits over this file and all of `csrc`."""
    digest = hashlib.sha256()
    for path in [Path(__file__), *sorted(csrc.glob("*.*"))]:
        digest.update(path.name.encode() + b"\0" + path.read_bytes() + b"\0")
    return digest.hexdigest()[:16]


def cache_root() -> Path:
    """Where libraries go when the package folder is not writable."""
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "quadview"


def cache_folder() -> Path:
    """The folder of the cache for this state of the sources."""
    return cache_root() / source_hash()


def is_current(library: Path) -> bool:
    """Whether a library was built from the sources that are installed: their hash is inside it."""
    return f"quadview sources {source_hash()}".encode() in library.read_bytes()


def library_paths() -> tuple[Path, Path]:
    """Where a library may lie, in the order they are tried."""
    return PACKAGE / LIBRARY, cache_folder() / LIBRARY


def find_compiler() -> list[str] | None:
    """The command of a C++ compiler: $CXX if set, else the first of c++, g++ and clang++."""
    wanted = os.environ.get("CXX")
    if wanted:
        command = shlex.split(wanted)
        return command if shutil.which(command[0]) else None
    found = next(filter(None, map(shutil.which, COMPILERS)), None)
    return [found] if found else None


def instruction_sets(machine: str) -> dict[str, tuple[int, tuple[str, ...]]]:
    """Name -> (floats in a vector, compiler flags), for each build of the kernels."""
    sets: dict[str, tuple[int, tuple[str, ...]]] = {"baseline": (4, ())}
    if machine.lower() in ("x86_64", "amd64"):
        sets |= {"avx2": (8, AVX2), "avx512": (16, AVX512)}
    return sets


def build_library(folder: Path) -> Path:
    """Builds the library into `folder`, replacing one that is there in a single step.

    Raises:
        BuildError: there is no compiler, or it failed.
    """
    compiler = find_compiler()
    if compiler is None:
        raise BuildError(
            f"no C++ compiler found (tried $CXX, {', '.join(COMPILERS)}); "
            "install g++ or clang++, or set CXX"
        )
    return link(
        folder / LIBRARY,
        lambda work: _compile_commands(compiler, PACKAGE / "csrc", work),
        [*compiler, "-shared", "-pthread"],
    )


def link(
    library: Path, commands: Callable[[Path], dict[Path, list[str]]], linker: list[str]
) -> Path:
    """Compiles and links a library, replacing one that is there in a single step.

    Args:
        library: where it shall lie.
        commands: a folder to work in -> object files in it, each with the command that makes it.
        linker: the command that links the object files, without them and the output.

    Raises:
        BuildError: a command failed.
    """
    library.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=library.parent, prefix=".build-") as scratch:
        objects = commands(Path(scratch))
        _run_all(list(objects.values()))
        built = Path(scratch) / library.name
        _run_all([[*linker, "-o", str(built), *map(str, objects)]])
        built.replace(library)
    return library


def build_cuda_library(folder: Path, recipe: Any, wanted: str = "auto") -> Path:
    """Builds the CUDA library into `folder`.

    Args:
        folder: where it shall lie.
        recipe: what `cuda_build` offers, as a module or loaded by path.
        wanted: architectures, as `cuda_build.architectures` takes them.

    Raises:
        BuildError: there is no nvcc, it failed, or it does not know an architecture.
    """
    nvcc = recipe.find_nvcc()
    if nvcc is None:
        raise BuildError(
            "no nvcc found (tried $NVCC, $CUDA_HOME, nvcc, /usr/local/cuda); "
            "install the CUDA toolkit, or set NVCC"
        )
    try:
        targets = recipe.architectures(nvcc, wanted)
    except ValueError as error:
        raise BuildError(str(error)) from error
    if not targets:
        raise BuildError(f"{nvcc} knows none of sm_{', sm_'.join(recipe.ARCHITECTURES)}")
    return link(
        folder / recipe.LIBRARY,
        lambda work: recipe.compile_commands(nvcc, work, targets),
        recipe.linker(nvcc),
    )


def _compile_commands(compiler: list[str], csrc: Path, work: Path) -> dict[Path, list[str]]:
    """Object file -> the command that makes it."""
    commands = {}
    for name, (width, flags) in instruction_sets(platform.machine()).items():
        defines = (f"-DQV_WIDTH={width}", f"-DQV_TABLE=qv_{name}", f'-DQV_NAME="{name}"')
        for source in PER_SET:
            output = work / f"{name}.{source}.o"
            options = [*FLAGS, *flags, *defines, "-c", str(csrc / source), "-o", str(output)]
            commands[output] = [*compiler, *options]
    define = f'-DQV_SOURCE_HASH="{source_hash(csrc)}"'
    for source in ONCE:
        output = work / f"{source}.o"
        commands[output] = [*compiler, *FLAGS, define, "-c", str(csrc / source), "-o", str(output)]
    return commands


def _run_all(commands: list[list[str]]) -> None:
    """Runs the commands side by side and waits for all of them."""
    running = [
        subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
        for command in commands
    ]
    outputs = [process.communicate()[0] for process in running]
    for process, output in zip(running, outputs, strict=True):
        if process.returncode:
            command = shlex.join(process.args if isinstance(process.args, list) else [])
            raise BuildError(f"the compiler failed with {process.returncode}: {command}\n{output}")


def _writable_folder(cache: Path | None = None) -> Path:
    return PACKAGE if os.access(PACKAGE, os.W_OK) else cache or cache_folder()


def main(argv: Sequence[str] | None = None) -> int:
    """Builds a library for this installation and prints where it lies."""
    parser = argparse.ArgumentParser(
        prog="python -m attention_ops build", description="Compile the CPU kernels (seconds)."
    )
    parser.add_argument("--into", type=Path, help="folder (default: the package, else the cache)")
    parser.add_argument("--force", action="store_true", help="compile again what is there")
    parser.add_argument("--cuda", action="store_true", help="the CUDA kernels instead (minutes)")
    parser.add_argument(
        "--architectures",
        default="auto",
        metavar="80,90,...",
        help="with --cuda: numbers, all, or auto: those of the devices here, else all",
    )
    arguments = parser.parse_args(argv)
    recipe = importlib.import_module("attention_ops.cuda_build") if arguments.cuda else None
    name = recipe.LIBRARY if recipe else LIBRARY
    cache = cache_root() / recipe.source_hash() if recipe else None
    there = (arguments.into or _writable_folder(cache)) / name
    check = recipe.is_current if recipe else is_current
    if there.exists() and check(there) and not arguments.force:
        sys.stdout.write(f"already built: {there}\n")
        return 0
    try:
        if recipe:
            build_cuda_library(there.parent, recipe, arguments.architectures)
        else:
            build_library(there.parent)
    except BuildError as error:
        sys.stderr.write(f"not built: {error}\n")
        return 1
    sys.stdout.write(f"built {there}\n")
    return 0
