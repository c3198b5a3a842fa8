"""What worker processes do in tests; a module of its own, so that spawned ones can import it."""

import numpy as np
import torch

from matching.predictor import load_predictor as load_matching
from matching.soak import made_up_pair
from stereo.predictor import load_predictor as load_stereo

SIZES = ((96, 128), (112, 96), (90, 125))


def pairs():
    """Three pairs of different sizes."""
    generator = np.random.default_rng(0)
    return [made_up_pair(generator, size) for size in SIZES]


def load():
    """Both predictors, in a format that is the same everywhere."""
    torch.set_num_threads(1)
    return load_matching("small", dtype=torch.float32), load_stereo("small", dtype=torch.float32)


def answers(predictors, number):
    """Arrays of both tasks for one pair."""
    matching, stereo = predictors
    pair = pairs()[number]
    matches, found = matching.match(*pair), stereo.predict(*pair)
    return (matches.kpts0, matches.kpts1, matches.confidence, found.disparity, found.occlusion)


def all_answers(_=None):
    """Those of all pairs by predictors of this process."""
    predictors = load()
    return [answers(predictors, number) for number in range(len(SIZES))]
