"""Agreement with the official networks: names, shapes, numbers, and the files they come in."""

import copy
import csv
import functools
import math
import zlib
from dataclasses import replace

import hypothesis
import numpy as np
import pytest
import torch
from hypothesis import strategies as st
from kornia.feature import LoFTR
from kornia.feature.loftr.loftr import default_cfg

from matching.config import PRESETS
from matching.dual_softmax import log_dual_softmax
from matching.model import Features, build_matcher
from matching.official import (
    family_of,
    load_official,
    load_official_weights,
    official_names,
    official_shapes,
    recognise,
    to_official,
)
from tests.shared_data import shared

TABLES = {
    "loftr_ds": "loftr",
    "loftr_ds_new": "loftr_new",
    "quadtree_b_indoor": "quadtree",
    "quadtree_a": "quadtree_a",
}


def on_paper(preset):
    """The matcher of a preset without memory for its weights."""
    with torch.device("meta"):
        return build_matcher(PRESETS[preset])


def rule_filled(shapes, halve_coarse):
    """Official weights by the rule of ../shared/reference/README.md."""
    return {name: _rule(name, shape, halve_coarse) for name, shape in shapes.items()}


def _rule(name, shape, halve_coarse):
    generator = torch.Generator().manual_seed(zlib.crc32(name.encode()))
    r = torch.randn(shape, generator=generator)
    if name.endswith("num_batches_tracked"):
        r = torch.tensor(0)
    elif name.endswith("running_mean"):
        r = 0.1 * r
    elif name.endswith("running_var"):
        r = 0.5 + r.abs()
    elif name.endswith("bias"):
        r = 0.05 * r
    elif r.dim() < 2:
        r = 1 + 0.2 * r if r.dim() else 0.3 * r
    else:
        halved = halve_coarse and name.startswith("loftr_coarse") and "dwconv" not in name
        r = r * (2 / r[0].numel()) ** 0.5 / (1 + halved)
    return r


# --- names and shapes


@pytest.mark.parametrize("table", TABLES)
def test_names_shapes_and_order_are_the_official_ones(table):
    with shared(f"reference/state_dicts/{table}.tsv").open() as file:
        want = {row[0]: row[1] for row in csv.reader(file, delimiter="\t")}
    got = official_shapes(on_paper(TABLES[table]))
    assert {name: str(tuple(shape)) for name, shape in got.items()} == want


def test_names_are_those_of_kornia():
    want = {name: value.shape for name, value in LoFTR(pretrained=None).state_dict().items()}
    assert official_shapes(on_paper("loftr")) == want


@pytest.mark.parametrize(
    ("preset", "entries", "parameters"),
    [  # PROTOCOLS 3.7
        ("loftr", 211, 11_561_456),
        ("loftr_ot", 212, 11_561_457),
        ("quadtree", 259, 12_704_264),
        ("quadtree_a", 251, 12_704_240),
    ],
)
def test_sizes_are_the_official_ones(preset, entries, parameters):
    matcher = on_paper(preset)
    assert len(matcher.state_dict()) == entries
    assert sum(p.numel() for p in matcher.parameters()) == parameters


@pytest.mark.parametrize("preset", ["loftr", "loftr_ot", "quadtree", "quadtree_a"])
def test_no_two_weights_share_an_official_name(preset):
    names = official_names(on_paper(preset).state_dict())
    assert len(set(names.values())) == len(names)


@pytest.mark.parametrize(
    ("preset", "ours", "official"),
    [
        ("loftr", "trunk.layer2.0.downsample.1.bias", "backbone.layer2.0.downsample.1.bias"),
        ("loftr", "fine.down_proj.bias", "fine_preprocess.down_proj.bias"),
        ("loftr_ot", "dustbin", "coarse_matching.bin_score"),
        (
            "loftr",
            "transformer.layers.7.attention.out.weight",
            "loftr_coarse.layers.7.merge.weight",
        ),
        (
            "quadtree",
            "transformer.layers.7.attention.key.weight",
            "loftr_coarse.layers.7.attn.k_proj.weight",
        ),
        (
            "quadtree",
            "transformer.layers.0.attention.level_weight",
            "loftr_coarse.layers.0.attn.py_att.weight",
        ),
        (
            "quadtree",
            "transformer.layers.0.conv.bias",
            "loftr_coarse.layers.0.mlp.dwconv.dwconv.bias",
        ),
        (
            "quadtree",
            "fine.transformer.layers.1.attention.query.weight",
            "loftr_fine.layers.1.q_proj.weight",
        ),
    ],
)
def test_the_key_map_by_example(preset, ours, official):
    assert official_names(on_paper(preset).state_dict())[ours] == official


def test_our_own_network_has_no_official_names():
    with pytest.raises(ValueError, match="no counterpart"):
        official_names(on_paper("small").state_dict())
    with pytest.raises(ValueError, match="presets that have one: loftr"):
        family_of(PRESETS["small"])


@pytest.mark.parametrize("preset", ["loftr_ot", "quadtree"])
def test_weights_go_out_and_come_back_with_the_prefix_or_without(preset):
    matcher, other = random_matcher(preset), build_matcher(PRESETS[preset])
    weights = to_official(matcher)
    load_official_weights(other, {f"matcher.{name}": value for name, value in weights.items()})
    want = matcher.state_dict()
    assert all(torch.equal(value, want[name]) for name, value in other.state_dict().items())


# --- files


@functools.cache
def random_matcher(preset):
    """A matcher with random weights and random running statistics; shared, so never change it."""
    torch.manual_seed(0)
    matcher = build_matcher(replace(PRESETS[preset], threshold=0.0)).eval()
    for name, value in matcher.state_dict().items():
        if name.endswith("running_mean"):
            value.normal_(0, 0.1)
        elif name.endswith("running_var"):
            value.uniform_(0.5, 1.5)
    return matcher


def official_file(path, preset, change=None):
    """An official-looking file with random weights, with the prefix that Lightning gives."""
    weights = to_official(random_matcher(preset))
    if change:
        change(weights)
    torch.save({"state_dict": {f"matcher.{k}": v for k, v in weights.items()}}, path)
    return path


@pytest.mark.parametrize("preset", ["loftr", "loftr_ot", "quadtree", "quadtree_a"])
def test_the_family_of_a_file_is_recognised(preset):
    weights = {name: torch.empty(0) for name in official_shapes(on_paper(preset))}
    assert recognise(weights) == family_of(PRESETS[preset])


@pytest.mark.parametrize(
    ("names", "family"),
    [
        (["tokenizer.up.1.convTrans.weight", "tokenizer.up.2.convTrans.2.weight"], "STTR"),
        (["tokenizer.up.1.convTrans.weight"], "STTR-light"),
    ],
)
def test_a_stereo_file_is_recognised(names, family):
    assert recognise({name: torch.empty(0) for name in names}).name == family


def test_an_official_file_loads_in_eval_mode_with_the_presets_config(tmp_path):
    path = official_file(tmp_path / "indoor.ckpt", "quadtree")
    matcher, config = load_official(path, "quadtree_outdoor")
    assert config == PRESETS["quadtree_outdoor"]
    assert not matcher.training
    saved = torch.load(path, weights_only=True)["state_dict"]
    for name, value in to_official(matcher).items():
        assert torch.equal(value, saved[f"matcher.{name}"])


def test_a_bare_state_dict_loads_as_well(tmp_path):
    torch.save(to_official(random_matcher("loftr")), tmp_path / "loftr.pth")
    load_official(tmp_path / "loftr.pth", "loftr_new")


def test_the_position_encoding_is_the_presets_business():
    assert not PRESETS["loftr"].coarse.corrected_encoding
    assert not PRESETS["loftr_ot"].coarse.corrected_encoding
    assert all(
        PRESETS[name].coarse.corrected_encoding
        for name in ("loftr_new", "quadtree", "quadtree_outdoor", "quadtree_a")
    )


@pytest.mark.parametrize(
    ("written", "preset", "words"),
    [
        ("loftr", "quadtree", "must be QuadTree-B for preset 'quadtree', got LoFTR"),
        ("loftr_ot", "loftr", "must be LoFTR for preset 'loftr', got LoFTR with Sinkhorn"),
        ("loftr", "small", "preset must be one of loftr, .*, got 'small'"),
    ],
)
def test_a_file_that_does_not_fit_the_preset_is_refused(tmp_path, written, preset, words):
    path = official_file(tmp_path / "some.ckpt", written)
    with pytest.raises(ValueError, match=words):
        load_official(path, preset)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (
            lambda w: w.pop("backbone.bn1.running_var"),
            r"missing backbone\.bn1\.running_var \(128,\)$",
        ),
        (lambda w: w.update({"extra.weight": torch.zeros(1)}), r"unknown extra\.weight$"),
        (
            lambda w: w.update({"loftr_fine.layers.0.merge.weight": torch.zeros(128, 128, 1, 1)}),
            r"loftr_fine\.layers\.0\.merge\.weight is \(128, 128, 1, 1\) instead of \(128, 128\)$",
        ),
        (  # two blocks of two convolutions and norms (5 entries each), and a third pair: 30
            lambda w: [w.pop(name) for name in list(w) if ".layer3." in name],
            r"missing backbone\.layer3\.0\.conv1\.weight .* and 25 more$",
        ),
        (
            lambda w: w.update({"backbone.bn1.bias": torch.full((128,), torch.nan)}),
            r"NaN or .* backbone\.bn1\.bias$",
        ),
    ],
)
def test_weights_that_do_not_fit_are_named_in_one_line(tmp_path, change, words):
    path = official_file(tmp_path / "some.ckpt", "loftr", change)
    with pytest.raises(ValueError, match=words) as error:
        load_official(path, "loftr")
    assert str(error.value).startswith(str(path))
    assert "\n" not in str(error.value)


class Payload:
    def __reduce__(self):
        return (print, ("unpickled",))


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (Payload(), "torch file of tensors"),
        ({"state_dict": {"x": Payload()}}, "torch file of tensors"),
        ([torch.zeros(1)], "must map names to tensors"),
        ({"state_dict": {"x": 1}}, "must map names to tensors"),
        ({"state_dict": {}}, "got no weights at all"),
        ({"state_dict": {"x": torch.zeros(1)}}, "must hold LoFTR or QuadTree weights, got x"),
    ],
)
def test_a_file_that_holds_something_else_is_refused_and_not_run(tmp_path, content, words, capsys):
    torch.save(content, tmp_path / "some.ckpt")
    with pytest.raises(ValueError, match=words) as error:
        load_official(tmp_path / "some.ckpt", "loftr")
    assert "\n" not in str(error.value)
    assert "unpickled" not in capsys.readouterr().out


def test_a_missing_file_and_a_folder_are_named(tmp_path):
    with pytest.raises(FileNotFoundError, match="nothing is there"):
        load_official(tmp_path / "none.ckpt", "loftr")
    with pytest.raises(ValueError, match="got a folder"):
        load_official(tmp_path, "loftr")


@pytest.fixture(scope="module")
def torch_files(tmp_path_factory):
    """A file to write to, and the bytes of small ones as torch.save makes them, now and of old."""
    path = tmp_path_factory.mktemp("damaged") / "some.ckpt"
    contents = []
    for modern in (True, False):
        weights = {"matcher.x": torch.arange(5.0), "matcher.y": torch.ones(2, 2)}
        torch.save({"state_dict": weights}, path, _use_new_zipfile_serialization=modern)
        contents.append(path.read_bytes())
    return path, contents


@hypothesis.settings(max_examples=100)
@hypothesis.given(data=st.data())
def test_a_damaged_file_is_refused_in_one_line(torch_files, data):
    path, contents = torch_files
    content = bytearray(data.draw(st.sampled_from([*contents, b"", b"text", b"PK\x03\x04"])))
    content = content[: data.draw(st.integers(0, len(content)))]
    for _ in range(data.draw(st.integers(0, 3)) if content else 0):
        content[data.draw(st.integers(0, len(content) - 1))] = data.draw(st.integers(0, 255))
    path.write_bytes(content)
    with pytest.raises(ValueError, match=f"^{path}") as error:
        load_official(path, "loftr")
    assert "\n" not in str(error.value)


# --- numbers: kornia's LoFTR on the same random weights


def kornia_loftr(matcher, corrected):
    config = copy.deepcopy(default_cfg)
    config["coarse"]["temp_bug_fix"] = corrected
    config["match_coarse"]["thr"] = 0.0
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


@pytest.mark.parametrize(("preset", "corrected"), [("loftr", False), ("loftr_new", True)])
@torch.no_grad()
def test_matches_equal_kornias(generator, preset, corrected):
    matcher = random_matcher(preset)
    image0, image1 = shifted_pair(generator, (96, 128), (96, 128))
    theirs = kornia_loftr(matcher, corrected)({"image0": image0, "image1": image1})
    assert_same_matches(matcher(image0, image1), theirs)


@torch.no_grad()
def test_matches_of_a_batch_of_two_sizes_with_masks_equal_kornias(generator):
    matcher = random_matcher("loftr")
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
    pytest.param(*case, marks=pytest.mark.slow if "float64" in case[0] else ()) for case in CASES
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
        """Coarse and fine maps of both images."""
        return trunk_maps(self.dtype, self.matcher.trunk, torch.cat([self.image(0), self.image(1)]))

    @functools.cached_property
    def features(self):
        """Of both images; in float64 with the official table of position encodings."""
        if self.dtype == torch.float32:
            return [self.matcher.extract(self.image(side), self.mask(side)) for side in (0, 1)]
        coarse, fine = self.trunk
        stored = torch.from_numpy(self.want["mid/pos_encoding/0/0/every_16"])
        coarse = coarse + official_encoding(coarse[:1], stored)
        return [Features(coarse[s : s + 1], fine[s : s + 1], None) for s in (0, 1)]

    @functools.cached_property
    def layers(self):
        """Maps of image 0 and image 1 after every layer of the coarse transformer."""
        found = []
        hooks = [
            layer.register_forward_hook(lambda _, __, out: found.append(out))
            for layer in self.matcher.transformer.layers
        ]
        self.matcher.coarse_tokens(*self.features)
        for hook in hooks:
            hook.remove()
        return list(zip(found[::2], found[1::2], strict=True))

    def valid(self, side):
        """Cells (L,) that are not masked."""
        mask = self.features[side].mask
        return slice(None) if mask is None else mask[0].flatten()


@functools.cache
def official_case(name, case):
    with torch.no_grad():
        return OfficialCase(name, case)


FLOAT64_MAPS = []


def trunk_maps(dtype, trunk, images):
    """What the trunk gives; in float64, which is slow, once for all, as the weights are."""
    if dtype == torch.float32:
        return trunk(images)
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


@pytest.mark.parametrize(("name", "case"), CASES)
@torch.no_grad()
def test_trunk_equals_the_official_one(name, case):
    run = official_case(name, case)
    limit = 2e-5 if run.dtype == torch.float32 else 1e-12
    for number, got in enumerate(run.trunk):
        assert run.error(got, f"mid/backbone/0/{number}") < limit
        mean = float(got.double().abs().mean())
        assert mean == pytest.approx(run.want[f"mid/backbone/0/{number}/mean_abs"], rel=1e-6)


@pytest.mark.parametrize(("name", "case"), CASES)
@torch.no_grad()
def test_position_encoding_equals_the_official_one(name, case):
    run = official_case(name, case)
    limit = 1e-5 if run.dtype == torch.float32 else 1e-12
    for side in (0, 1):
        assert run.error(run.features[side].coarse, f"mid/pos_encoding/{side}/0") < limit


@pytest.mark.parametrize("layer", [0, 1, 7])
@pytest.mark.parametrize(("name", "case"), CASES)
@torch.no_grad()
def test_coarse_transformer_equals_the_official_one(name, case, layer):
    run = official_case(name, case)
    limit = 1e-5 if run.dtype == torch.float32 else 1e-9
    for side in (0, 1):
        key = f"mid/loftr_coarse.layers.{layer}/{side}/0"
        want = torch.from_numpy(run.want[f"{key}/every_16"]).view(-1, 16)  # channels 0, 16, ...
        got = run.layers[layer][side].flatten(2).mT[0, :, ::16]
        valid = run.valid(side)
        assert (got - want)[valid].abs().max() / want.abs().max() < limit


@pytest.mark.parametrize(("name", "case"), CASES)
@torch.no_grad()
def test_confidence_equals_the_official_one(name, case):
    run = official_case(name, case)
    tokens = [map_.flatten(2).mT for map_ in run.layers[-1]]
    (tokens0, scale), (tokens1, _) = (run.matcher.scaled(each) for each in tokens)
    masks = [None if f.mask is None else f.mask.flatten(1) for f in run.features]
    best = log_dual_softmax(tokens0, tokens1, scale, *masks).exp().max(2)
    valid = run.valid(0)
    # Similarities reach hundreds here, so that 1e-6 of them is 1e-4 of a confidence.
    limit = 1e-3 if run.dtype == torch.float32 else 1e-8
    want = torch.from_numpy(run.want["out/conf_row_max"])
    assert (best.values - want)[0, valid].abs().max() < limit
    want = torch.from_numpy(run.want["out/conf_row_argmax"])
    assert torch.equal(best.indices[0, valid], want[0, valid])


@pytest.mark.parametrize(("name", "case"), CASES)
@torch.no_grad()
def test_matches_equal_the_official_ones(name, case):
    run = official_case(name, case)
    found = run.matcher.match_features(*run.features)
    order = found.cell0.argsort()
    got = {key: value[order].numpy() for key, value in vars(found).items()}
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
