from stereo import bench
from tests.stereo.tiny import TINY


def test_the_tables_say_time_flops_and_memory(monkeypatch, capsys):
    monkeypatch.setitem(bench.CONFIGS, "tiny", TINY)
    monkeypatch.setattr(bench, "DEMO", (32, 48))
    monkeypatch.setattr(bench, "SCENEFLOW", (48, 64))
    assert bench.main(["--only", "tiny", "--repeats=1"]) == 0
    lines = [line for line in capsys.readouterr().out.splitlines() if "tiny" in line]
    assert len(lines) == 3
    assert all("GFLOP" in line and "MB" in line for line in lines)
    assert all(" 0 GFLOP" not in line for line in lines)
