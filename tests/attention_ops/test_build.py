"""Building the compiled ops: by command, by setup.py, and what happens where it cannot be done."""

import ctypes
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from attention_ops import build

ROOT = Path(build.__file__).parents[1]
needs_compiler = pytest.mark.skipif(build.find_compiler() is None, reason="no C++ compiler")


@pytest.fixture
def quick(monkeypatch):
    """Compiles without optimisation: seconds instead of tens of them."""
    monkeypatch.setattr(build, "FLAGS", tuple(f for f in build.FLAGS if f != "-O3"))


@needs_compiler
@pytest.mark.slow
@pytest.mark.usefixtures("quick")
def test_a_built_library_loads_and_knows_its_sources(tmp_path):
    path = build.build_library(tmp_path / "new")
    assert build.is_current(path)
    assert hasattr(ctypes.CDLL(str(path)), "qv_fine_backward")
    assert [entry.name for entry in path.parent.iterdir()] == [build.LIBRARY]


def test_any_change_of_the_sources_changes_their_hash(tmp_path):
    csrc = tmp_path / "csrc"
    shutil.copytree(build.PACKAGE / "csrc", csrc)
    assert build.source_hash(csrc) == build.source_hash()
    (csrc / "select.h").write_text((csrc / "select.h").read_text() + "\n")
    assert build.source_hash(csrc) != build.source_hash()


def test_without_a_compiler_the_error_names_what_was_tried(tmp_path, monkeypatch):
    monkeypatch.setenv("CXX", "no-such-compiler")
    with pytest.raises(build.BuildError, match=r"tried \$CXX, c\+\+, g\+\+, clang\+\+"):
        build.build_library(tmp_path)


def test_a_failed_build_shows_the_command_and_leaves_the_old_library(tmp_path, monkeypatch):
    old = tmp_path / build.LIBRARY
    old.write_bytes(b"old")
    monkeypatch.setenv("CXX", "false")
    with pytest.raises(build.BuildError, match=r"the compiler failed with 1: .*kernels\.cpp"):
        build.build_library(tmp_path)
    assert old.read_bytes() == b"old"
    assert list(tmp_path.iterdir()) == [old]


@pytest.mark.parametrize(
    ("machine", "names"),
    [
        ("x86_64", {"baseline", "avx2", "avx512"}),
        ("AMD64", {"baseline", "avx2", "avx512"}),
        ("aarch64", {"baseline"}),
    ],
)
def test_only_x86_gets_its_wider_vectors(machine, names):
    assert set(build.instruction_sets(machine)) == names


def test_the_command_builds_nothing_when_a_current_library_is_there(tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("CXX", "false")
    there = tmp_path / build.LIBRARY
    there.write_bytes(f"quadview sources {build.source_hash()}".encode())
    assert build.main(["--into", str(tmp_path)]) == 0
    assert "already built" in capsys.readouterr().out
    assert build.main(["--into", str(tmp_path), "--force"]) == 1
    assert "not built: the compiler failed" in capsys.readouterr().err


def test_the_command_goes_to_the_cache_where_the_package_is_read_only(monkeypatch, tmp_path):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.setattr(os, "access", lambda *_: False)
    assert build._writable_folder() == tmp_path / "quadview" / build.source_hash()
    assert build._writable_folder() / build.LIBRARY in build.library_paths()


def run_setup(tmp_path, **environment):
    """`setup.py build_ext` into `tmp_path`, without touching the checkout."""
    command = [sys.executable, "setup.py", "-q", "build_ext", f"--build-lib={tmp_path}"]
    command.append(f"--build-temp={tmp_path / 'temp'}")
    return subprocess.run(
        command, cwd=ROOT, env=os.environ | environment, capture_output=True, text=True, check=False
    )


def test_an_installation_without_a_compiler_succeeds_with_a_warning(tmp_path):
    result = run_setup(tmp_path, CXX="no-such-compiler", QUADVIEW_BUILD="auto")
    assert result.returncode == 0, result.stderr
    assert "the portable backend serves: no C++ compiler found" in result.stderr


def test_an_installation_that_requires_the_kernels_fails_without_a_compiler(tmp_path):
    result = run_setup(tmp_path, CXX="no-such-compiler", QUADVIEW_BUILD="require")
    assert result.returncode != 0
    assert "no C++ compiler found" in result.stderr


def test_an_installation_with_the_build_off_runs_no_compiler(tmp_path):
    result = run_setup(tmp_path, CXX="no-such-compiler", QUADVIEW_BUILD="off")
    assert result.returncode == 0, result.stderr
    assert "compiler" not in result.stderr


def test_an_unknown_build_mode_is_refused(tmp_path):
    result = run_setup(tmp_path, QUADVIEW_BUILD="yes")
    assert result.returncode != 0
    assert "must be auto, require or off, got 'yes'" in result.stderr
