"""Builds the compiled ops: finds a C++ compiler, compiles `csrc` once per instruction set, links.

Imports nothing of this package, so that setup.py can load it by its path before anything is
installed. Knows nothing of torch: the library has a plain C interface.
"""

import argparse
import hashlib
import os
import platform
import shlex
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

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


def cache_folder() -> Path:
    """Where a library goes when the package folder is not writable; one folder per source state."""
    root = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(root) / "quadview" / source_hash()


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
    csrc = PACKAGE / "csrc"
    folder.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=folder, prefix=".build-") as scratch:
        work = Path(scratch)
        commands = _compile_commands(compiler, csrc, work)
        _run_all(list(commands.values()))
        built = work / LIBRARY
        _run_all([[*compiler, "-shared", "-pthread", "-o", str(built), *map(str, commands)]])
        built.replace(folder / LIBRARY)
    return folder / LIBRARY


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


def _writable_folder() -> Path:
    return PACKAGE if os.access(PACKAGE, os.W_OK) else cache_folder()


def main(argv: Sequence[str] | None = None) -> int:
    """Builds the library for this installation and prints where it lies."""
    parser = argparse.ArgumentParser(
        prog="python -m attention_ops build", description="Compile the CPU kernels (seconds)."
    )
    parser.add_argument("--into", type=Path, help="folder (default: the package, else the cache)")
    parser.add_argument("--force", action="store_true", help="compile again what is there")
    arguments = parser.parse_args(argv)
    folder = arguments.into or _writable_folder()
    there = folder / LIBRARY
    if there.exists() and is_current(there) and not arguments.force:
        sys.stdout.write(f"already built: {there}\n")
        return 0
    try:
        path = build_library(folder)
    except BuildError as error:
        sys.stderr.write(f"not built: {error}\n")
        return 1
    sys.stdout.write(f"built {path}\n")
    return 0
