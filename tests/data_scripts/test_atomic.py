from pathlib import Path

import pytest

from data_scripts.atomic import keep_apart


def test_a_file_that_is_read_is_not_written(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "folder").mkdir()
    keep_apart((Path("a"), None), (Path("b"), None, Path("folder/a")))
    with pytest.raises(ValueError, match="wanted another file, but a is read; rename the output"):
        keep_apart((Path("folder/../a"),), (Path("a"),))


def test_a_link_is_the_file_that_it_leads_to(tmp_path):
    (tmp_path / "a").touch()
    (tmp_path / "link").symlink_to("a")
    with pytest.raises(ValueError, match="a is read"):
        keep_apart((tmp_path / "link",), (tmp_path / "a",))


def test_nothing_is_written_twice():
    with pytest.raises(ValueError, match="a is written already"):
        keep_apart((Path("a"), Path("b"), Path("a")), ())
