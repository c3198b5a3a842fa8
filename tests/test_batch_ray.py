from importlib import import_module

import pytest


@pytest.mark.parametrize(
    ("package", "images"),
    [
        ("matching", ["--images", "images", "--exhaustive"]),
        ("stereo", ["--left", "left", "--right", "right"]),
    ],
)
def test_a_cluster_needs_an_actor(package, images, capsys):
    words = ["batch", *images, "--out", "run", "--engine", "ray", "--actors", "0"]
    with pytest.raises(SystemExit) as stopped:
        import_module(f"{package}.__main__").main(words)
    assert stopped.value.code == 2
    assert "--actors must be 1 or more" in capsys.readouterr().err
