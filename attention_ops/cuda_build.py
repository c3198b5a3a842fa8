"""How the CUDA kernels are compiled: finds nvcc, knows the architectures, lists the commands.

Imports nothing of this package, so that setup.py can load it by its path; `build` runs what this
file lists. The library has a plain C interface and its own static CUDA runtime, as `cuda_backend`
explains, so it needs nothing of torch, neither to compile nor to load.
"""

import hashlib
import importlib.util
import os
import re
import shutil
import subprocess
from collections.abc import Sequence
from pathlib import Path

PACKAGE = Path(__file__).resolve().parent
CSRC = PACKAGE / "csrc" / "cuda"
LIBRARY = "_cuda_kernels.so"
ARCHITECTURES = ("80", "86", "89", "90", "100", "120")
PTX = "90"  # translated by the driver on what is newer than all of these, or lies between
TYPES = {"float32": "float", "float16": "Half", "bfloat16": "BFloat"}  # ours -> in C++
FLAGS = ("-std=c++17", "-O3", "-Xcompiler=-fPIC,-fvisibility=hidden", "-Xfatbin=-compress-all")
ASK_TIMEOUT_S = 30


def source_hash(csrc: Path = CSRC) -> str:
    """Names a state of the sources: 16 hexadecimal digits over this file and all of `csrc`."""
    digest = hashlib.sha256()
    for path in [Path(__file__), *sorted(csrc.glob("*.*"))]:
        digest.update(path.name.encode() + b"\0" + path.read_bytes() + b"\0")
    return digest.hexdigest()[:16]


def is_current(library: Path) -> bool:
    """Whether a library was built from the sources that are installed: their hash is inside it."""
    return f"quadview cuda sources {source_hash()}".encode() in library.read_bytes()


def find_nvcc() -> str | None:
    """The compiler: $NVCC if set, else below $CUDA_HOME, on the path, or in /usr/local/cuda."""
    wanted = os.environ.get("NVCC")
    if wanted:
        return shutil.which(wanted)
    home = os.environ.get("CUDA_HOME") or os.environ.get("CUDA_PATH")
    places = [Path(home) / "bin" / "nvcc"] if home else []
    tried = ["nvcc", "/usr/local/cuda/bin/nvcc"]
    return next(filter(None, map(shutil.which, [*map(str, places), *tried])), None)


def torch_cuda() -> str | None:
    """The version of CUDA that the installed torch has, or None; torch is not imported."""
    spec = importlib.util.find_spec("torch")
    if spec is None or spec.origin is None:
        return None
    version = Path(spec.origin).with_name("version.py")
    if not version.is_file():
        return None
    found = re.search(r"^cuda\b[^=]*=\s*['\"]([\d.]+)", version.read_text(), re.MULTILINE)
    return found[1] if found else None


def architectures(nvcc: str, wanted: str = "auto") -> tuple[str, ...]:
    """What to compile for, such as ("80", "90").

    Args:
        nvcc: the compiler; what it does not know is left out of "auto" and "all".
        wanted: numbers with commas, "all", or "auto": those of the devices here, else all.

    Raises:
        ValueError: a number is not one of an architecture that the kernels are written for.
    """
    if wanted not in ("auto", "all"):
        given = tuple(wanted.replace(" ", "").split(","))
        unfit = [x for x in given if not re.fullmatch(r"\d+", x) or int(x) < int(ARCHITECTURES[0])]
        if unfit:
            raise ValueError(
                f"architectures must be numbers from {ARCHITECTURES[0]}, got {unfit[0]!r}; "
                f"such as {','.join(ARCHITECTURES)}"
            )
        return given
    known = re.findall(r"sm_(\d+)", _answer([nvcc, "--list-gpu-code"]))
    here = _devices() if wanted == "auto" else set()
    chosen = sorted(here & set(known), key=int)
    return tuple(chosen) or tuple(x for x in ARCHITECTURES if x in known)


def _devices() -> set[str]:
    """Compute capabilities of the devices here that the kernels are written for."""
    answer = _answer(["nvidia-smi", "--query-gpu=compute_cap", "--format=csv,noheader"])
    numbers = {x.replace(".", "") for x in re.findall(r"^\d+\.\d+$", answer, re.MULTILINE)}
    return {x for x in numbers if int(x) >= int(ARCHITECTURES[0])}


def _answer(command: list[str]) -> str:
    """What a program prints; nothing if it is not there or fails."""
    if shutil.which(command[0]) is None:
        return ""
    done = subprocess.run(
        command, capture_output=True, text=True, timeout=ASK_TIMEOUT_S, check=False
    )
    return done.stdout if done.returncode == 0 else ""


def compile_commands(
    nvcc: str, work: Path, targets: Sequence[str], options: Sequence[str] = ()
) -> dict[Path, list[str]]:
    """Object file in `work` -> the command that makes it, for the architectures `targets`."""
    common = [nvcc, *FLAGS, *_code(targets), *options]
    commands = {}
    for name, in_cpp in TYPES.items():
        output = work / f"{name}.o"
        defines = [f"-DQV_TYPE={in_cpp}", f"-DQV_SERVE=qvc_{name}"]
        commands[output] = [*common, *defines, "-c", str(CSRC / "kernels.cu"), "-o", str(output)]
    output = work / "library.o"
    define = f'-DQV_SOURCE_HASH="{source_hash()}"'
    commands[output] = [*common, define, "-c", str(CSRC / "library.cu"), "-o", str(output)]
    return commands


def linker(nvcc: str) -> list[str]:
    """The command that links object files to a library, without the files."""
    return [nvcc, "-shared", "-cudart", "static"]


def _code(targets: Sequence[str]) -> list[str]:
    codes = [f"-gencode=arch=compute_{x},code=sm_{x}" for x in targets]
    if PTX in targets:
        codes.append(f"-gencode=arch=compute_{PTX},code=compute_{PTX}")
    return codes
