import h5py
import numpy as np
import pytest

from eval.adapters import RecordedFile, as_disparity, as_matches, find_function
from eval.methods import find_method, load_matcher
from eval.stereo_methods import find_stereo_method


@pytest.fixture
def theirs(tmp_path, monkeypatch):
    (tmp_path / "their_method.py").write_text(
        "import numpy as np\n"
        "def match(image0, image1):\n"
        "    points = np.array([[1.0, 2.0], [3.0, 4.0]])\n"
        "    return points, points + 1, np.array([0.2, 0.9])\n"
        "def disparity(left, right):\n"
        "    return np.full(left.shape[:2], 7.0)\n"
    )
    monkeypatch.syspath_prepend(tmp_path)
    return "their_method"


IMAGE = np.zeros((4, 5, 3), np.uint8)


def test_a_function_matches_and_its_best_comes_first(theirs):
    matches = load_matcher(f"{theirs}:match").match(IMAGE, IMAGE)
    assert matches.kpts0.tolist() == [[3, 4], [1, 2]]
    assert matches.kpts1.tolist() == [[4, 5], [2, 3]]
    assert matches.confidence.tolist() == pytest.approx([0.9, 0.2])


def test_a_function_gives_a_disparity_and_nothing_occluded(theirs):
    found = find_stereo_method(f"{theirs}:disparity").load().predict(IMAGE, IMAGE)
    assert (found.disparity == 7).all()
    assert not found.occlusion.any()


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("absent_module_x:match", "wanted a module that can be imported"),
        ("json:no_such_function", "json has no function no_such_function"),
    ],
)
def test_a_function_that_is_not_there_is_named(name, message):
    with pytest.raises(ValueError, match=message):
        find_function(name)


def test_a_matches_file_is_read_by_the_name_of_the_pair(tmp_path):
    path = tmp_path / "found.h5"
    with h5py.File(path, "w") as file:
        file["scene/a--b/kpts0"] = [[1.0, 2.0]]
        file["scene/a--b/kpts1"] = [[3.0, 4.0]]
        file["scene/a--c/kpts0"] = np.zeros((0, 2))
        file["scene/a--c/kpts1"] = np.zeros((0, 2))
    recorded = find_method(str(path)).load()
    assert recorded.matches("scene/a--b").kpts1.tolist() == [[3, 4]]
    assert len(recorded.matches("scene/a--c")) == 0
    with pytest.raises(ValueError, match="wanted a group 'scene/b--c' with kpts0, kpts1"):
        recorded.matches("scene/b--c")
    with pytest.raises(ValueError, match="wanted a method that can look at images"):
        load_matcher(str(path))


def test_a_disparity_file_is_read_by_the_name_of_the_pair(tmp_path):
    path = tmp_path / "found.h5"
    with h5py.File(path, "w") as file:
        file["a/disparity"] = np.full((4, 5), 3.0)
    assert RecordedFile(path).disparity("a").disparity.max() == 3


def test_a_changed_file_has_another_identity(tmp_path):
    identities = set()
    for content in (b"a", b"b"):
        (tmp_path / "found.h5").write_bytes(content)
        identities.add(find_method(str(tmp_path / "found.h5")).identity)
    assert len(identities) == 2


def test_a_file_that_is_not_there_is_named(tmp_path):
    with pytest.raises(FileNotFoundError, match="no such file of predictions"):
        find_method(str(tmp_path / "absent.h5"))


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ((np.zeros((3, 2)), np.zeros((2, 2))), "wanted kpts0 "),
        ((np.full((1, 2), np.nan), np.zeros((1, 2))), "wanted finite points"),
    ],
)
def test_matches_of_another_form_are_refused(given, message):
    with pytest.raises(ValueError, match=message):
        as_matches(given, "theirs")


def test_a_disparity_of_another_form_is_refused():
    with pytest.raises(ValueError, match=r"wanted disparity \(H, W\)"):
        as_disparity(np.zeros((4, 5, 1)), "theirs")
