import cv2
import numpy as np
import pytest

from matching.geometry import (
    RobustSettings,
    estimate,
    estimate_pose,
    fundamental_from_essential,
    warp_points,
)

K0 = np.array([[800.0, 0, 320], [0, 820, 240], [0, 0, 1]])
K1 = np.array([[700.0, 0, 300], [0, 690, 250], [0, 0, 1]])
R = cv2.Rodrigues(np.array([0.05, 0.2, -0.03]))[0]
t = np.array([1.0, 0.1, 0.2])
H = np.array([[0.9, 0.1, 12], [-0.08, 1.1, -7], [1e-4, -5e-5, 1]])
WRONG = 60  # of the first matches


@pytest.fixture(params=["opencv", "poselib"])
def settings(request):
    if request.param == "poselib":
        pytest.importorskip("poselib", reason="PoseLib is an extra: pip install quadview[poselib]")
    return RobustSettings(request.param)


def projected(K, points):
    pixels = points @ K.T
    return pixels[:, :2] / pixels[:, 2:]


@pytest.fixture
def scene():
    """Matches of 200 points in space, noise of 0.2 px, the first WRONG ones random."""
    rng = np.random.default_rng(0)
    points = rng.uniform([-2, -2, 4], [2, 2, 10], (200, 3))
    kpts0, kpts1 = projected(K0, points), projected(K1, points @ R.T + t)
    kpts1 = kpts1 + rng.normal(0, 0.2, kpts1.shape)
    kpts1[:WRONG] = rng.uniform(0, 640, (WRONG, 2))
    return kpts0, kpts1


@pytest.fixture
def plane():
    rng = np.random.default_rng(1)
    kpts0 = rng.uniform(0, 600, (200, 2))
    kpts1 = warp_points(kpts0, H) + rng.normal(0, 0.2, kpts0.shape)
    kpts1[:WRONG] = rng.uniform(0, 640, (WRONG, 2))
    return kpts0, kpts1


def test_a_homography_is_found_among_wrong_matches(settings, plane):
    found = estimate("homography", *plane, settings=settings)
    corners = np.array([[0, 0], [600, 0], [0, 600], [600, 600.0]])
    np.testing.assert_allclose(
        warp_points(corners, found.matrix), warp_points(corners, H), atol=0.5
    )
    assert found.matrix[2, 2] == 1
    assert found.inliers[WRONG:].mean() > 0.95
    assert found.inliers[:WRONG].mean() < 0.05
    assert found
    assert found.failure is None


def test_a_fundamental_matrix_puts_matches_on_their_lines(settings, scene):
    found = estimate("fundamental", *scene, settings=settings)
    ones = np.ones((200, 1))
    lines = np.hstack([scene[0], ones]) @ found.matrix.T
    points1 = np.hstack([scene[1], ones])
    distance = np.abs((lines * points1).sum(1)) / np.linalg.norm(lines[:, :2], axis=1)
    assert np.median(distance[WRONG:]) < 0.4  # noise of 0.2 px
    assert found.inliers[WRONG:].mean() > 0.9
    assert np.linalg.norm(found.matrix) == pytest.approx(1)


def test_an_essential_matrix_is_that_of_the_pose(settings, scene):
    found = estimate("essential", *scene, K0, K1, settings)
    x, y, z = t
    E = np.array([[0, -z, y], [z, 0, -x], [-y, x, 0]]) @ R
    E /= np.linalg.norm(E)
    assert min(np.abs(found.matrix - E).max(), np.abs(found.matrix + E).max()) < 0.01
    F = fundamental_from_essential(found.matrix, K0, K1)
    assert np.linalg.det(F) == pytest.approx(0, abs=1e-12)


def test_the_pose_is_found_with_its_sign(settings, scene):
    pose = estimate_pose(*scene, K0, K1, settings)
    angle = np.rad2deg(np.arccos(np.clip((np.trace(pose.R.T @ R) - 1) / 2, -1, 1)))
    assert angle < 0.3
    assert np.rad2deg(np.arccos(pose.t @ t / np.linalg.norm(t))) < 1
    assert pose.inliers[WRONG:].mean() > 0.9
    assert pose.inliers[:WRONG].mean() < 0.1
    as_lists = estimate_pose(*(each.tolist() for each in (*scene, K0, K1)), settings)
    np.testing.assert_array_equal(as_lists.R, pose.R)


def test_complex_points_are_refused_not_cut():
    with pytest.raises(TypeError, match="must be real"):
        estimate("homography", np.zeros((5, 2), complex), np.zeros((5, 2)))


def test_equal_calls_give_equal_answers(settings, scene):
    first, again = (estimate("fundamental", *scene, settings=settings) for _ in range(2))
    np.testing.assert_array_equal(first.matrix, again.matrix)
    np.testing.assert_array_equal(first.inliers, again.inliers)


@pytest.mark.parametrize(
    ("kind", "fewest"), [("homography", 4), ("fundamental", 7), ("essential", 5)]
)
def test_too_few_matches_are_a_failure_in_words(settings, kind, fewest):
    for count in (0, fewest - 1):
        points = np.zeros((count, 2))
        found = estimate(kind, points, points, K0, K1, settings)
        assert not found
        assert found.failure == f"{count} matches, {fewest} are needed"
        assert found.inliers.shape == (count,)


def test_points_that_say_nothing_are_a_failure_not_an_exception(settings):
    same = np.full((50, 2), 7.0)
    for kind in ("homography", "fundamental", "essential"):
        found = estimate(kind, same, same, K0, K1, settings)
        assert found or found.failure
        assert found.matrix is None or np.isfinite(found.matrix).all()
    pose = estimate_pose(same[:3], same[:3], K0, K1, settings)
    assert not pose
    assert pose.failure == "3 matches, 5 are needed"


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"kind": "affine"}, "kind must be one of"),
        ({"kpts0": np.zeros((5, 3))}, r"kpts0 must be \(N, 2\)"),
        ({"kpts1": np.zeros((4, 2))}, "one row per match"),
        ({"kpts1": np.full((5, 2), np.nan)}, "kpts1 must be finite"),
        ({"K0": None}, r"K0 must be \(3, 3\) .* got none"),
        ({"K1": np.eye(4)}, r"K1 must be .* got \(4, 4\)"),
        ({"K1": -np.eye(3)}, "got wrong values"),
        ({"K0": K0.T}, "K0 must have the last row 0 0 1, .* transposed"),
    ],
)
def test_wrong_arguments_are_told(change, said):
    given = {"kind": "essential", "kpts0": np.zeros((5, 2)), "kpts1": np.zeros((5, 2))}
    with pytest.raises(ValueError, match=said):
        estimate(**(given | {"K0": K0, "K1": K1} | change))


@pytest.mark.parametrize(
    "wrong", [{"backend": "kornia"}, {"threshold_px": 0}, {"confidence": 1}, {"max_iterations": 0}]
)
def test_wrong_settings_are_told_when_they_are_made(wrong):
    with pytest.raises(ValueError, match=next(iter(wrong))):
        RobustSettings(**wrong)


def test_a_missing_backend_says_what_to_install(monkeypatch, plane):
    monkeypatch.setitem(__import__("sys").modules, "poselib", None)
    with pytest.raises(RuntimeError, match=r"pip install quadview\[poselib\]"):
        estimate("homography", *plane, settings=RobustSettings("poselib"))
