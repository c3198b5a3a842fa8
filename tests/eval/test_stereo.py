import json
from dataclasses import replace

import cv2
import numpy as np
import pytest

from eval import stereo_report
from eval.stereo import grouped, predict_pair, run, score_pair
from eval.stereo_benchmarks import STEREO_BENCHMARKS
from eval.stereo_methods import StereoMethod, find_stereo_method
from stereo.disparity import Disparity
from tests.shared_data import shared

STEREO = STEREO_BENCHMARKS["stereo"]
SIZES = {"near": (20, 40), "far": (10, 30)}


class Constant:
    """Says the same everywhere; refuses images of more than `largest` rows."""

    def __init__(self, disp=5.0, largest=100):
        self.disp, self.largest, self.calls = disp, largest, 0

    def predict(self, left, _right):
        self.calls += 1
        H, W = left.shape[:2]
        if self.largest < H:
            raise ValueError("too\nlarge")
        flat = np.zeros((H, W), np.float32)
        return Disparity(flat + self.disp, flat, flat + 1)


@pytest.fixture
def data(tmp_path):
    """Two pairs whose disparity is 4 px, but 10 px in the first row of the smaller one."""
    folder = tmp_path / "data/stereo/pairs"
    rows = []
    for name, size in SIZES.items():
        (folder / name).mkdir(parents=True)
        for side in ("left", "right"):
            cv2.imwrite(str(folder / name / f"{side}.png"), np.zeros(size, np.uint8))
        stored = np.full(size, 4 * 256, np.uint16)
        stored[0] = (10 if name == "far" else 4) * 256
        cv2.imwrite(str(folder / name / "disp.png"), stored)
        files = {key: f"{name}/{key}.png" for key in ("left", "right", "disp")}
        rows.append(
            {"name": name, "dataset": "Made", "disp_scale": 256, "has_nocc": False, **files}
        )
    (folder / "index.json").write_text(json.dumps(rows))
    return tmp_path / "data"


def method(stereo, identity="one"):
    return StereoMethod("constant", identity, "says the same everywhere", lambda: stereo)


def stereo(data, given, out, benchmark=STEREO):
    return run(benchmark, given, data, out)


def test_what_the_set_lacks_stands_below_the_tables(data, tmp_path):
    result = stereo(data, method(Constant()), tmp_path)
    assert "not whole" not in stereo_report.markdown_text(result)
    text = stereo_report.markdown_text(replace(result, lacks=("90 of 100 pairs missing",)))
    assert "- stereo: the set is not whole: 90 of 100 pairs missing." in text.splitlines()


def test_scores_by_hand(data, tmp_path):
    result = stereo(data, method(Constant()), tmp_path)
    near, far = result.results
    assert [near.name, far.name] == ["near", "far"]
    # near: 36 of 40 columns match inside, all 1 px off. far: 26 columns of 9 rows 1 px off, 20 5 px.
    assert near.score("noc").pixels == 20 * 36
    assert near.score("noc").epe == 1
    assert far.score("noc").pixels == 9 * 26 + 20
    assert far.score("noc").epe == pytest.approx((234 + 100) / 254)
    assert far.score("noc").bad == pytest.approx((1, *(20 / 254,) * 4))
    assert far.score("all").pixels == 300
    assert far.score("occ").pixels == 300 - 254
    (group,) = grouped(result)
    assert (group.group, group.pairs, group.failed) == ("Made", 2, 0)
    seen = group.region("noc")
    assert (seen.images, seen.empty) == (2, 0)
    assert seen.mean.epe == pytest.approx((1 + 334 / 254) / 2)
    assert seen.pooled.epe == pytest.approx((720 + 334) / 974)


def test_predictions_are_kept_until_the_method_changes(data, tmp_path):
    first_one, idle, other = Constant(), Constant(), Constant()
    first = stereo(data, method(first_one), tmp_path)
    assert stereo(data, method(idle), tmp_path).results == first.results
    assert (first_one.calls, idle.calls) == (2, 0)
    stereo(data, method(other, "two"), tmp_path)
    assert other.calls == 2


def test_an_image_without_a_pixel_that_counts_is_left_out_and_told(data, tmp_path):
    # with a limit of 5 px nothing is left out; with one of 4 px, which is excluded, everything of near
    limited = replace(STEREO, max_disp=4.0, regions=("all",))
    (group,) = grouped(stereo(data, method(Constant()), tmp_path, limited))
    assert group.regions == ()
    limited = replace(STEREO, max_disp=11.0, regions=("all",), name="other")
    (group,) = grouped(stereo(data, method(Constant()), tmp_path, limited))
    assert group.region("all").mean.epe == pytest.approx((1 + (270 + 30 * 5) / 300) / 2)


def test_predictions_are_clipped_where_the_protocol_says_so(data, tmp_path):
    (pair, _) = STEREO.pairs(data)
    given = predict_pair(Constant(99.0), pair)
    for clip, ndisp, want in ((True, 6.0, 2), (False, 6.0, 95), (True, None, 95)):
        found = score_pair(replace(pair, ndisp=ndisp), given, replace(STEREO, clip=clip))
        assert found.score("all").epe == want


def test_a_pair_that_fails_is_bad_everywhere_and_told(data, tmp_path):
    result = stereo(data, method(Constant(largest=15)), tmp_path)
    assert result.results[0].score("noc").invalid == 1
    assert result.results[0].score("noc").bad == (1, 1, 1, 1, 1)
    assert result.results[0].error == "ValueError: too large"
    assert "near failed: ValueError: too large" in stereo_report.notes(result)
    stereo_report.write(result, tmp_path)
    document = json.loads((tmp_path / "results.json").read_text())
    assert document["results"][0]["pairs"][0]["scores"]["noc"]["epe"] is None


def test_results_are_written_for_people_and_for_programs(data, tmp_path):
    result = stereo(data, method(Constant()), tmp_path)
    stereo_report.write(result, tmp_path)
    lines = (tmp_path / "results.md").read_text().splitlines()
    assert lines[2].startswith("| pair | size | EPE px | bad 0.5 | bad 1 |")
    assert lines[4].startswith("| near | 40 x 20 | 1.000 | 100.00 | 0.00 |")
    assert any(line.startswith("| Made | visible | per image | 2 | 0 | 1.157 |") for line in lines)
    assert any("says the same everywhere" in line for line in lines)
    (document,) = json.loads((tmp_path / "results.json").read_text())["results"]
    region = next(each for each in document["groups"][0]["regions"] if each["region"] == "noc")
    assert region["mean"]["epe"] == pytest.approx((1 + 334 / 254) / 2)
    assert document["pairs"][0]["occlusion"] is None
    assert document["identity"].startswith("one; 2 pairs")


def test_a_missing_data_set_says_which_folder_is_wanted(tmp_path):
    with pytest.raises(FileNotFoundError, match="stereo/pairs: no such folder; --data"):
        STEREO.pairs(tmp_path)


def test_two_pairs_of_one_name_are_refused(data):
    index = data / "stereo/pairs/index.json"
    rows = json.loads(index.read_text())
    index.write_text(json.dumps(rows[:1] * 2))
    with pytest.raises(ValueError, match="two pairs have the same name"):
        STEREO.pairs(data)


def test_methods_are_found_by_name_and_differ_in_identity(tmp_path):
    assert find_stereo_method("sgbm").identity.startswith("sgbm ")
    with pytest.raises(FileNotFoundError, match="huge: no such weights"):
        find_stereo_method("huge")
    identities = set()
    for content in (b"a", b"b"):
        (tmp_path / "mine.safetensors").write_bytes(content)
        found = find_stereo_method(str(tmp_path / "mine.safetensors"))
        assert found.name == "mine"
        identities.add(found.identity)
    assert len(identities) == 2


@pytest.mark.slow
def test_sgbm_is_as_good_as_it_was_on_other_scenes(tmp_path):
    # The issue gives EPE 1.39 and bad-2.0 8.5 % as its means over a larger set of Middlebury scenes.
    names = ("teddy", "Dolls", "Motorcycle", "Art")
    read = STEREO.read
    chosen = replace(STEREO, read=lambda at: [pair for pair in read(at) if pair.name in names])
    (group,) = grouped(stereo(shared("data"), find_stereo_method("sgbm"), tmp_path, chosen))
    assert group.region("noc").mean.epe < 1.5
    assert group.region("noc").mean.above(2.0) < 0.09
