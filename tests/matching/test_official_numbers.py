"""Agreement in numbers with kornia's LoFTR, and with the official networks' stored outputs."""

import copy
import functools
import itertools
import math
from dataclasses import replace

import numpy as np
import pytest
import torch
from kornia.feature import LoFTR
from kornia.feature.loftr.loftr import default_cfg

from matching.config import PRESETS
from matching.dual_softmax import log_dual_softmax
from matching.model import Features, build_matcher
from matching.official import load_official_weights, official_shapes, to_official
from tests.matching.official_weights import random_matcher, rule_filled
from tests.shared_data import shared

# --- numbers: kornia's LoFTR on the same random weights


def kornia_loftr(matcher, corrected):
    config = copy.deepcopy(default_cfg)
    config["coarse"]["temp_bug_fix"] = corrected
    config["match_coarse"] |= {"thr": 0.0, "border_rm": matcher.border}
    theirs = LoFTR(pretrained=None, config=config)
    theirs.load_state_dict(to_official(matcher), strict=True)
    return theirs.eval()


def shifted_pair(generator, size0, size1, batch=1):
    """Two noisy views of one texture, the second a cell to the right and one down."""
    H, W = max(size0[0], size1[0]) + 8, max(size0[1], size1[1]) + 8
    texture = torch.rand(batch, 1, H, W, generator=generator)
    view0 = texture[..., : size0[0], : size0[1]]
    view1 = texture[..., 8 : 8 + size1[0], 8 : 8 + size1[1]]
    noise = torch.rand(view1.shape, generator=generator)
    return view0, (9 * view1 + noise) / 10


def assert_same_matches(ours, theirs):
    """The same cells, key points to 1e-3 px, confidence to 1e-5."""
    sides = []
    for pair, kpts0, kpts1, confidence in (
        (ours.pair, ours.kpts0, ours.kpts1, ours.confidence),
        tuple(theirs[k] for k in ("batch_indexes", "keypoints0", "keypoints1", "confidence")),
    ):
        order = np.lexsort((kpts0[:, 0], kpts0[:, 1], pair))
        sides.append([x[order] for x in (pair, kpts0, kpts1, confidence)])
    (pair, kpts0, kpts1, confidence), (their_pair, their_kpts0, their_kpts1, their_confidence) = (
        sides
    )
    assert len(pair) >= 10
    assert torch.equal(pair, their_pair)
    assert torch.equal(kpts0, their_kpts0)
    assert (kpts1 - their_kpts1).abs().max() < 1e-3
    assert (confidence - their_confidence).abs().max() < 1e-5


@pytest.mark.once
@pytest.mark.parametrize(("preset", "corrected"), [("loftr", False), ("loftr_new", True)])
@torch.no_grad()
def test_matches_equal_kornias(generator, preset, corrected):
    matcher = random_matcher(preset)
    image0, image1 = shifted_pair(generator, (96, 128), (96, 128))
    theirs = kornia_loftr(matcher, corrected)({"image0": image0, "image1": image1})
    assert_same_matches(matcher(image0, image1), theirs)


@pytest.mark.once
@torch.no_grad()
def test_matches_of_a_batch_of_two_sizes_with_masks_equal_kornias(generator):
    # kornia takes the border of a padded image from pixels as if they were cells: so without one.
    matcher = random_matcher("loftr", border=0)
    images = shifted_pair(generator, (96, 128), (104, 96), batch=2)
    masks = [torch.ones_like(image[:, 0], dtype=torch.bool) for image in images]
    masks[0][1, 80:] = False
    masks[1][0, :, 88:] = False
    images = [image * mask[:, None] for image, mask in zip(images, masks, strict=True)]
    data = dict(zip(("image0", "image1", "mask0", "mask1"), (*images, *masks), strict=True))
    theirs = kornia_loftr(matcher, corrected=False)(data)
    assert_same_matches(matcher(*images, *masks), theirs)


# --- numbers: outputs of the official networks, in ../shared/reference


SINGLE = ("loftr_ds", "loftr_ds_new", "quadtree_b_indoor_float64", "quadtree_a_float64")
CASES = [(name, "single") for name in SINGLE] + [("loftr_ds_new", "masked")]
CASES = [
    pytest.param(*case, marks=pytest.mark.slow if "float64" in case[0] else pytest.mark.once)
    for case in CASES
]
CONFIGS = {
    "loftr_ds": PRESETS["loftr"],
    "loftr_ds_new": PRESETS["loftr_new"],
    "quadtree_b_indoor_float64": PRESETS["quadtree"],
    # No weights of variant A were released; this file was made with the top-K of the outdoor B.
    "quadtree_a_float64": replace(
        PRESETS["quadtree_a"], coarse=replace(PRESETS["quadtree_a"].coarse, topk=(16, 8, 8))
    ),
}


class OfficialCase:
    """What an official network gave on a pair, and what ours gives."""

    def __init__(self, name, case):
        with np.load(shared(f"reference/networks/{name}.npz")) as file:
            prefix = f"{case}/"
            self.want = {k.removeprefix(prefix): file[k] for k in file if k.startswith(prefix)}
        self.dtype = torch.float64 if "float64" in name else torch.float32
        self.matcher = build_matcher(replace(CONFIGS[name], threshold=0.0)).eval()
        weights = rule_filled(official_shapes(self.matcher), halve_coarse="quadtree" in name)
        load_official_weights(self.matcher, weights)
        self.matcher.to(self.dtype)

    def image(self, side):
        grey = torch.from_numpy(self.want[f"in/image{side}"]).float() / 255
        return grey.to(self.dtype)

    def mask(self, side):
        """(B, H, W) from the mask of cells that is stored; None if there is none."""
        cells = self.want.get(f"in/mask{side}")
        return None if cells is None else torch.from_numpy(cells.repeat(8, 1).repeat(8, 2))

    def error(self, got, key):
        """Largest difference from a stored value, over the largest stored one."""
        stored = next(k for k in self.want if k.startswith((f"{key}/head", f"{key}/every_")))
        want, got = torch.from_numpy(self.want[stored]), got.flatten()
        step = 1 if stored.endswith("head") else int(stored.rsplit("_", 1)[1])
        return float((got[::step][: len(want)] - want).abs().max() / want.abs().max())

    @functools.cached_property
    def trunk(self):
        """Coarse and fine maps (2, C, H, W) of both images."""
        return self._extracted[0]

    @functools.cached_property
    def features(self):
        """Of both images; in float64 with the official table of position encodings."""
        return self._extracted[1]

    @functools.cached_property
    def _extracted(self):
        images = torch.cat([self.image(0), self.image(1)])
        if self.dtype == torch.float64:
            coarse, fine = float64_maps(self.matcher.trunk, images)
            stored = torch.from_numpy(self.want["mid/pos_encoding/0/0/every_16"])
            added = coarse + official_encoding(coarse[:1], stored)
            return (coarse, fine), [Features(added[s, None], fine[s, None], None) for s in (0, 1)]
        maps = []
        hook = self.matcher.trunk.register_forward_hook(lambda _, __, out: maps.append(out))
        masks = None if self.mask(0) is None else torch.cat([self.mask(0), self.mask(1)])
        both = self.matcher.extract(images, masks)
        hook.remove()
        cells = [None, None] if masks is None else both.mask[:, None]
        sides = zip(both.coarse[:, None], both.fine[:, None], cells, strict=True)
        return maps[0], [Features(*side) for side in sides]

    @functools.cached_property
    def layers(self):
        """Maps of image 0 and image 1 after every layer of the coarse transformer."""
        return self._matched[0]

    @functools.cached_property
    def matches(self):
        """By rising cell of image 0, as the official ones are."""
        found = self._matched[1]
        order = found.cell0.argsort()
        return {key: value[order].numpy() for key, value in vars(found).items()}

    @functools.cached_property
    def _matched(self):
        found = []
        hooks = [
            layer.register_forward_hook(lambda _, __, out: found.append(out))
            for layer in self.matcher.transformer.layers
        ]
        matches = self.matcher.match_features(*self.features)
        for hook in hooks:
            hook.remove()
        return list(zip(found[::2], found[1::2], strict=True)), matches

    def valid(self, side):
        """Cells (L,) that are not masked."""
        mask = self.features[side].mask
        return slice(None) if mask is None else mask[0].flatten()


FLOAT64_MAPS = []


def float64_maps(trunk, images):
    """What the trunk gives, slowly, once for both networks: they have the same trunk and images."""
    if not FLOAT64_MAPS:
        FLOAT64_MAPS.extend((images, trunk(images)))
    assert torch.equal(FLOAT64_MAPS[0], images)
    return FLOAT64_MAPS[1]


def official_encoding(coarse, stored):
    """The position encoding (256, 32, 40) that the official network added to `coarse`.

    Its table is float32, and exp() differs by a unit in the last place between machines, which
    float64 sees. So each frequency is the neighbour that explains the stored sum, every 16th.
    """
    frequency = torch.exp(torch.arange(0, 128, 2).float() * (-math.log(10000.0) / 128))
    tries = [frequency, *(frequency.nextafter(torch.tensor(end)) for end in (0.0, 2.0))]
    tables = []
    for each in tries:
        x = each[:, None, None] * (1.0 + torch.arange(40))
        y = each[:, None, None] * (1.0 + torch.arange(32)[:, None])
        parts = [part.expand(64, 32, 40) for part in (x.sin(), x.cos(), y.sin(), y.cos())]
        tables.append(torch.stack(parts, 1).flatten(0, 1).double())
    errors = [((coarse + t).flatten()[::16] - stored).abs().view(64, -1).sum(1) for t in tables]
    best = torch.stack(errors).argmin(0).repeat_interleave(4)  # (256,) which of the tries
    return torch.stack(tables)[best, torch.arange(256)]


def assert_same_trunk(run):
    limit = 2e-5 if run.dtype == torch.float32 else 1e-12
    for number, got in enumerate(run.trunk):
        assert run.error(got, f"mid/backbone/0/{number}") < limit
        mean = float(got.double().abs().mean())
        assert mean == pytest.approx(run.want[f"mid/backbone/0/{number}/mean_abs"], rel=1e-6)


def assert_same_position_encoding(run):
    limit = 1e-5 if run.dtype == torch.float32 else 1e-12
    for side in (0, 1):
        assert run.error(run.features[side].coarse, f"mid/pos_encoding/{side}/0") < limit


def assert_same_coarse_layers(run):
    limit = 1e-5 if run.dtype == torch.float32 else 1e-9
    for layer, side in itertools.product((0, 1, 7), (0, 1)):
        key = f"mid/loftr_coarse.layers.{layer}/{side}/0"
        want = torch.from_numpy(run.want[f"{key}/every_16"]).view(-1, 16)  # channels 0, 16, ...
        got = run.layers[layer][side].flatten(2).mT[0, :, ::16]
        valid = run.valid(side)
        assert (got - want)[valid].abs().max() / want.abs().max() < limit


def assert_same_confidence(run):
    tokens = [map_.flatten(2).mT for map_ in run.layers[-1]]
    (tokens0, scale), (tokens1, _) = (run.matcher.scaled(each) for each in tokens)
    masks = [None if f.mask is None else f.mask.flatten(1) for f in run.features]
    best = log_dual_softmax(tokens0, tokens1, scale, *masks).exp().max(2)
    valid = run.valid(0)
    # Similarities reach 2000 here, so that a float32 rounding of one is 2e-4 of a confidence.
    limit = 1e-3 if run.dtype == torch.float32 else 1e-8
    want = torch.from_numpy(run.want["out/conf_row_max"])
    assert (best.values - want)[0, valid].abs().max() < limit
    surely = (want > 1e-6)[0, valid]  # others may be equal or vanish in rounding
    want = torch.from_numpy(run.want["out/conf_row_argmax"])
    assert surely.any()
    assert torch.equal(best.indices[0, valid][surely], want[0, valid][surely])


def assert_same_official_matches(run):
    got = run.matches
    float32 = run.dtype == torch.float32
    assert np.array_equal(got["cell0"], run.want["out/i_ids"])
    assert np.array_equal(got["cell1"], run.want["out/j_ids"])
    assert np.array_equal(got["kpts0"], run.want["out/mkpts0_f"])
    # The masked pair has no match, in the official network neither; its scales have no effect.
    for got_, want, limit in (
        (got["kpts1"], run.want["out/mkpts1_f"], 1e-3 if float32 else 1e-7),
        (got["spread"] / 4, run.want["out/expec_f"][:, 2], 1e-3 if float32 else 1e-7),
        (got["confidence"], run.want["out/mconf"], 1e-3 if float32 else 1e-8),
    ):
        np.testing.assert_allclose(got_, want, rtol=0, atol=limit)


@pytest.mark.parametrize(("name", "case"), CASES)
@torch.no_grad()
def test_every_stage_equals_the_official_one(name, case):
    # in one test: each stage goes on from the one before, and workers would make them again
    run = OfficialCase(name, case)
    assert_same_trunk(run)
    assert_same_position_encoding(run)
    assert_same_coarse_layers(run)
    assert_same_confidence(run)
    assert_same_official_matches(run)
