"""Runs a batch on two CPUs of a Ray of its own, whose actors are killed: `python ray_kills.py FOLDER WORDS...`.

One actor dies before it has made its first shard, one after it, before it could tell. FOLDER keeps account
of who died. Exits with the code of the command.
"""

import os
import signal
import sys
from pathlib import Path

import ray
import torch

from matching import __main__ as command
from matching import batch_ray

MOMENTS = ("before", "after")
GRAVES = Path(sys.argv[1]).resolve()


def die_once(moment):
    try:
        (GRAVES / moment).touch(exist_ok=False)
    except FileExistsError:
        return
    os.kill(os.getpid(), signal.SIGKILL)


class Mortal(batch_ray.ShardMatcher):
    def __call__(self, batch):
        die_once(MOMENTS[0])
        made = super().__call__(batch)
        die_once(MOMENTS[1])
        return made


def connect(trials=6):
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


if __name__ == "__main__":
    torch.set_num_threads(1)
    batch_ray.ShardMatcher = Mortal
    connect()
    code = command.main(sys.argv[2:])
    ray.shutdown()
    sys.exit(code)
