"""Runs a batch many times and kills it at random moments: `python batch_kills.py KILLS SEED WORDS...`.

Forks after everything is imported, so that a kill costs milliseconds and strikes in the work. Prints how
many of the kills struck before the end of the run.
"""

import os
import random
import signal
import sys
import time
from pathlib import Path

import torch

from data_scripts.command_line import STOPPED
from matching import __main__ as command
from matching import batch_run, descriptors, predictor  # noqa: F401 - imported before the fork
from tests.matching.patch_matcher import PatchMatcher


def matcher():
    found = PatchMatcher()
    found.corrected_encoding = True
    return found


def forked(words):
    child = os.fork()
    if child == 0:
        with Path(os.devnull).open("w") as nowhere:
            sys.stdout = sys.stderr = nowhere
            os._exit(command.main(words))
    return child


def main(kills, seed, words):
    torch.set_num_threads(1)
    predictor.load_checkpoint = lambda _: (matcher(), None, {})
    rng = random.Random(seed)
    struck = 0
    longest = 0.0
    for attempt in range(kills):
        child = forked(words)
        # Ever longer, so that the first kills strike at the beginning and later ones far on.
        time.sleep(rng.uniform(0, 0.15 + longest))
        longest += 0.4 / kills
        os.kill(child, signal.SIGINT if attempt % 4 == 3 else signal.SIGKILL)
        _, status = os.waitpid(child, 0)
        struck += os.WIFSIGNALED(status) or os.WEXITSTATUS(status) == STOPPED
    _, status = os.waitpid(forked(words), 0)
    sys.stdout.write(f"{struck}\n")
    return os.WEXITSTATUS(status)


if __name__ == "__main__":
    sys.exit(main(int(sys.argv[1]), int(sys.argv[2]), sys.argv[3:]))
