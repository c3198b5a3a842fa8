"""Where a result comes from: versions, machine, device and commit."""

import os
import platform
import subprocess
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

PACKAGES = (
    "quadview",
    "torch",
    "opencv-python",
    "opencv-python-headless",
    "numpy",
    "h5py",
    "kornia",
    "poselib",
)


def environment() -> dict[str, str]:
    """Versions, machine and commit."""
    found = {package: _version(package) for package in PACKAGES}
    found |= {"python": platform.python_version(), "machine": platform.platform()}
    return found | {"processor": _processor(), "device": device(), "commit": commit()}


def device() -> str:
    """What the networks run on, with the number of threads on a CPU."""
    import torch

    if torch.cuda.is_available():
        return f"cuda present ({torch.cuda.get_device_name(0)}); methods say which device they use"
    return f"cpu, {torch.get_num_threads()} threads of torch"


def commit() -> str:
    """The commit of the source, `-dirty` where files differ from it; "unknown" outside a checkout."""
    root = Path(__file__).parents[1]
    command = ["git", "-C", str(root), "describe", "--always", "--dirty"]
    try:
        done = subprocess.run(command, capture_output=True, text=True, check=False)
    except OSError:
        return "unknown"
    return done.stdout.strip() or "unknown"


def _version(package: str) -> str:
    try:
        return version(package)
    except PackageNotFoundError:
        return "not installed"


def _processor() -> str:
    """The name of the processor and how many of its cores there are."""
    cores = f"{os.cpu_count()} cores"
    info = Path("/proc/cpuinfo")
    if not info.is_file():
        return f"{platform.processor() or 'unknown'}, {cores}"
    names = [
        line.split(":", 1)[1].strip()
        for line in info.read_text().splitlines()
        if line.startswith("model name")
    ]
    return f"{names[0] if names else platform.machine()}, {cores}"
