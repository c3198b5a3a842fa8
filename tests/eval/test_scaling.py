import pytest

from eval.scaling import Arguments, cost, feature_bytes, loads_per_pair, main, pair_count


def test_pairs_of_ten_thousand_images():
    assert pair_count(10_000, 0) == 49_995_000
    assert pair_count(10_000, 50) == 500_000
    assert pair_count(4, 50) == 6  # never more than there are


def test_bytes_of_features_by_hand():
    # 16 x 16 px: 2 x 2 coarse cells of 128 channels, 8 x 8 fine ones of 32, 256 grey pixels, 4 bytes each
    assert feature_bytes(16, 16) == 4 * (4 * 128 + 64 * 32 + 256)


def test_hours_by_hand():
    # 3600 images at 1 a second are an hour; 10 pairs each at 2 a second are 5 hours on one device
    arguments = Arguments(2.0, 1.0, images=3600, retrieve=10, matches=0, disk_mb_per_second=1e9)
    one, eight = (cost(arguments, devices) for devices in (1, 8))
    assert (one.feature_hours, one.pair_hours) == (1.0, 5.0)
    assert one.hours == pytest.approx(6.0)
    assert eight.hours == pytest.approx(1.0 + 5 / 8)
    assert (one.bottleneck, eight.bottleneck) == ("pairs", "features")


def test_a_slow_disk_is_the_bottleneck_of_many_devices():
    # 1 MB/s for one image of 18.7 MB a pair
    arguments = Arguments(1.0, 1e6, images=1000, retrieve=10, matches=0, disk_mb_per_second=1.0)
    assert cost(arguments, 64).bottleneck == "disk"
    seconds = 10_000 * loads_per_pair(10) * feature_bytes(608, 800) / 1e6
    assert cost(arguments, 64).read_hours == pytest.approx(seconds / 3600)


def test_results_take_twenty_bytes_a_match():
    assert cost(Arguments(1.0, 1.0, images=3, matches=100), 1).result_gb == pytest.approx(6e-6)


def test_the_command_prints_a_row_for_each_number_of_devices(capsys):
    assert main(["--pairs-per-second", "1", "--images-per-second", "2", "--devices", "1", "8"]) == 0
    rows = capsys.readouterr().out.splitlines()
    assert [row.split(" | ")[0] for row in rows[2:4]] == ["| 1", "| 8"]
    assert "49,995,000" in rows[2]


def test_a_wrong_rate_is_one_line_and_code_2(capsys):
    try:
        code = main(["--pairs-per-second", "0", "--images-per-second", "2"])
    except SystemExit as stopped:
        code = stopped.code
    assert code == 2
    assert "pairs_per_second must be positive" in capsys.readouterr().err
