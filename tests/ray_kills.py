"""A batch on two CPUs of a Ray of its own, whose actors are killed: `python ray_kills.py ACTOR FOLDER WORDS...`.

ACTOR is the class, as package.batch_ray.Class; WORDS are those of the command of its package. One actor dies
before it has done its first item, one after it, before it could tell. FOLDER keeps account of who died.
Exits with the code of the command. `batch_with_kills` starts it and checks that they died.
"""

import os
import signal
import subprocess
import sys
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
MOMENTS = ("before", "after")
needs_ray = pytest.mark.skipif(
    find_spec("ray") is None or find_spec("pyarrow") is None, reason="needs quadview[ray]"
)


def batch_with_kills(actor, folder, words):
    """Runs a batch of that actor in `folder`."""
    graves = folder / "graves"
    graves.mkdir()
    environment = {
        "PYTHONPATH": str(ROOT),
        "PATH": "/usr/bin:/bin",
        "HOME": str(folder),
        "OMP_NUM_THREADS": "1",
    }
    done = subprocess.run(
        [sys.executable, __file__, actor, str(graves), *words],
        capture_output=True, text=True, check=False, timeout=900,
        env=environment, cwd=folder,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert sorted(path.name for path in graves.iterdir()) == sorted(MOMENTS)


def die_once(graves, moment):
    try:
        (graves / moment).touch(exist_ok=False)
    except FileExistsError:
        return
    os.kill(os.getpid(), signal.SIGKILL)


def mortal(actor, graves):
    class Mortal(actor):
        def __call__(self, batch):
            die_once(graves, MOMENTS[0])
            made = super().__call__(batch)
            die_once(graves, MOMENTS[1])
            return made

    return Mortal


def connect(ray, trials=6):
    """Starts a Ray; it gives up after half a minute by itself, which a busy machine may need."""
    for trial in range(trials):
        try:
            ray.init(num_cpus=2, include_dashboard=False, log_to_driver=False)
        except Exception:
            ray.shutdown()
            if trial == trials - 1:
                raise
        else:
            return


def main(actor, graves, *words):
    import ray
    import torch

    torch.set_num_threads(1)
    module, name = actor.rsplit(".", 1)
    batch_ray = import_module(module)
    setattr(batch_ray, name, mortal(getattr(batch_ray, name), Path(graves).resolve()))
    connect(ray)
    code = import_module(f"{module.split('.')[0]}.__main__").main(list(words))
    ray.shutdown()
    return code


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
