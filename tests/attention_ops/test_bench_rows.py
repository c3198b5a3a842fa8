from attention_ops import bench_rows


def test_the_table_has_a_line_for_every_contender_and_width(monkeypatch, capsys):
    monkeypatch.setattr(bench_rows, "WIDTHS", (8, 12))
    monkeypatch.setattr(bench_rows, "ROWS", 2)
    assert bench_rows.main(["--repeats=1"]) == 0
    lines = capsys.readouterr().out.splitlines()
    for name in ("STTR explicit", "SDPA, rotary", "row tree, fan-out 2", "row tree, fan-out 4"):
        assert sum(name in line and " ms" in line for line in lines) == 2, name
