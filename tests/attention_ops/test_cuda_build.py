"""How the CUDA kernels are built: what is found, what is asked of nvcc, and what its absence does."""

import importlib.machinery
import importlib.util
import os
import shlex
import shutil
from pathlib import Path

import pytest

from attention_ops import build, cuda_build
from tests.attention_ops.cuda_emulation import once
from tests.attention_ops.test_build import run_setup

pytestmark = once


@pytest.fixture
def nvcc(tmp_path, monkeypatch):
    """A stand-in that knows three architectures and writes down how it was called."""
    calls = tmp_path / "calls"
    script = tmp_path / "nvcc"
    script.write_text(
        "#!/bin/sh\n"
        'if [ "$1" = --list-gpu-code ]; then echo sm_75; echo sm_80; echo sm_90; exit; fi\n'
        f'echo "$@" >>{shlex.quote(str(calls))}\n'
        'while [ "$1" != -o ]; do shift; done\n'
        f'printf "quadview cuda sources {cuda_build.source_hash()}" >"$2"\n'
    )
    script.chmod(0o755)
    monkeypatch.setenv("NVCC", str(script))
    monkeypatch.setattr(cuda_build, "_devices", set)
    return calls


def test_nvcc_is_looked_for_where_it_is_named_first(tmp_path, monkeypatch):
    home = tmp_path / "bin" / "nvcc"
    home.parent.mkdir()
    home.write_text("#!/bin/sh\n")
    home.chmod(0o755)
    monkeypatch.delenv("NVCC", raising=False)
    monkeypatch.setenv("CUDA_HOME", str(tmp_path))
    assert cuda_build.find_nvcc() == str(home)
    monkeypatch.setenv("NVCC", "no-such-compiler")
    assert cuda_build.find_nvcc() is None


@pytest.mark.parametrize(
    ("line", "version"),
    [("cuda: Optional[str] = '12.8'", "12.8"), ("cuda: Optional[str] = None", None)],
)
def test_the_cuda_of_torch_is_read_without_importing_it(line, version, tmp_path, monkeypatch):
    (tmp_path / "version.py").write_text(f"__version__ = '9'\n{line}\nhip = None\n")
    spec = importlib.machinery.ModuleSpec("torch", None, origin=str(tmp_path / "__init__.py"))
    monkeypatch.setattr(importlib.util, "find_spec", lambda _: spec)
    assert cuda_build.torch_cuda() == version


def test_no_torch_has_no_cuda(monkeypatch):
    monkeypatch.setattr(importlib.util, "find_spec", lambda _: None)
    assert cuda_build.torch_cuda() is None


@pytest.mark.parametrize(
    ("wanted", "devices", "targets"),
    [
        ("auto", set(), ("80", "90")),
        ("auto", {"90"}, ("90",)),
        ("auto", {"100", "90"}, ("90",)),  # this nvcc does not know the other
        ("all", {"90"}, ("80", "90")),
        ("89, 100", set(), ("89", "100")),
    ],
)
@pytest.mark.usefixtures("nvcc")
def test_architectures_are_those_asked_for_here_or_known(wanted, devices, targets, monkeypatch):
    monkeypatch.setattr(cuda_build, "_devices", lambda: devices)
    assert cuda_build.architectures(cuda_build.find_nvcc(), wanted) == targets


@pytest.mark.parametrize("wanted", ["sm_90", "75", "90,"])
def test_an_architecture_that_there_are_no_kernels_for_is_refused(wanted):
    with pytest.raises(ValueError, match="must be numbers from 80, got"):
        cuda_build.architectures("nvcc", wanted)


def test_intermediate_code_is_kept_for_newer_devices(tmp_path):
    command = cuda_build.compile_commands("nvcc", tmp_path, ("80", "90"))[tmp_path / "float16.o"]
    codes = [word for word in command if word.startswith("-gencode")]
    assert codes == [
        "-gencode=arch=compute_80,code=sm_80",
        "-gencode=arch=compute_90,code=sm_90",
        "-gencode=arch=compute_90,code=compute_90",
    ]
    assert "-DQV_TYPE=Half" in command


def test_any_change_of_the_sources_changes_their_hash(tmp_path):
    csrc = tmp_path / "cuda"
    shutil.copytree(cuda_build.CSRC, csrc)
    assert cuda_build.source_hash(csrc) == cuda_build.source_hash()
    (csrc / "rows.h").write_text((csrc / "rows.h").read_text() + "\n")
    assert cuda_build.source_hash(csrc) != cuda_build.source_hash()


def test_the_command_builds_the_cuda_library_once(nvcc, tmp_path, capsys):
    folder = tmp_path / "into"
    assert build.main(["--cuda", "--into", str(folder)]) == 0
    assert cuda_build.is_current(folder / cuda_build.LIBRARY)
    assert [entry.name for entry in folder.iterdir()] == [cuda_build.LIBRARY]
    called = nvcc.read_text().splitlines()
    assert len(called) == 5  # three dtypes, the functions, the link
    assert called[-1].startswith("-shared -cudart static -o ")
    assert build.main(["--cuda", "--into", str(folder)]) == 0
    assert "already built" in capsys.readouterr().out
    assert len(nvcc.read_text().splitlines()) == 5


@pytest.mark.parametrize(
    ("arguments", "environment", "reason"),
    [
        ([], {"NVCC": "no-such-compiler"}, "no nvcc found (tried $NVCC"),
        (["--architectures", "7x"], {}, "must be numbers from 80, got '7x'"),
        ([], {"NVCC": shutil.which("true")}, "knows none of sm_80"),
    ],
)
@pytest.mark.usefixtures("nvcc")
def test_a_build_that_cannot_be_is_one_line(
    arguments, environment, reason, tmp_path, monkeypatch, capsys
):
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    assert build.main(["--cuda", "--into", str(tmp_path / "into"), *arguments]) == 1
    error = capsys.readouterr().err
    assert error.startswith("not built: ")
    assert reason in error
    assert error.count("\n") == 1


def fake_torch(tmp_path):
    """A folder for PYTHONPATH that holds a torch with CUDA, as far as an installation looks."""
    (tmp_path / "site" / "torch").mkdir(parents=True)
    (tmp_path / "site" / "torch" / "__init__.py").touch()
    (tmp_path / "site" / "torch" / "version.py").write_text("cuda = '13.0'\n")
    return str(tmp_path / "site")


def test_an_installation_builds_the_cuda_kernels_where_nvcc_and_torch_with_cuda_are(nvcc, tmp_path):
    result = run_setup(tmp_path, CXX="no-such-compiler", PYTHONPATH=fake_torch(tmp_path))
    assert result.returncode == 0, result.stderr
    assert (tmp_path / "attention_ops" / cuda_build.LIBRARY).exists()


def test_an_installation_whose_nvcc_fails_succeeds_with_a_warning(tmp_path, monkeypatch):
    monkeypatch.setenv("NVCC", shutil.which("false"))
    site = fake_torch(tmp_path)
    result = run_setup(tmp_path, CXX="no-such-compiler", PYTHONPATH=site)
    assert result.returncode == 0, result.stderr
    assert "warning: no CUDA kernels, Triton serves: " in result.stderr
    required = run_setup(
        tmp_path, CXX="no-such-compiler", PYTHONPATH=site, QUADVIEW_BUILD="require"
    )
    assert required.returncode != 0


def test_an_installation_beside_a_torch_without_cuda_runs_no_nvcc(nvcc, tmp_path):
    result = run_setup(
        tmp_path, CXX="no-such-compiler", PYTHONPATH=os.environ.get("PYTHONPATH", "")
    )
    assert result.returncode == 0, result.stderr
    if cuda_build.torch_cuda() is None:
        assert not Path(nvcc).exists()
