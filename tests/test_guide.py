"""The pages of the user guide do what they say.

Of a page in GUIDE, `python` blocks run in their order, as one program, and so does every line of a `bash`
block; on the motorcycle pair at a third of its size, in an empty folder. Lines of `sh` blocks take too long or want
data that are not here: like all commands of all other pages, they are held against --help.
"""

import contextlib
import functools
import importlib
import io
import re
import shlex
from pathlib import Path

import pytest
import skimage.data

ROOT = Path(__file__).parents[1]
GUIDE = [ROOT / "docs/install.md", *sorted((ROOT / "docs/guide").glob("*.md"))]
GUIDE += [ROOT / "docs/own-data.md"]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]
OTHER_PROGRAMS = {".", "cd", "echo", "git", "pip", "sed", "sudo"}  # whose options are not ours


def blocks(page):
    """Language and text of every block of code."""
    return re.findall(r"^```(\w*)\n(.*?)^```$", page.read_text(), re.MULTILINE | re.DOTALL)


def commands(language, text):
    """The command lines of a block; one without a language may hold something else altogether."""
    if language not in ("", "bash", "sh"):
        return []
    lines = text.replace("\\\n", " ").splitlines()
    if not language:
        return [line for line in lines if re.match(r"(python|torchrun) .*-m ", line)]
    return [line for line in lines if shlex.split(line, comments=True)]


def program(words):
    """The module that a command runs and the words behind it; None where it runs none of ours."""
    if "-m" not in words:
        return None
    behind = words[words.index("-m") + 1 :]
    module, *rest = behind[1:] if behind[0] == "--" else behind  # torchrun -m -- MODULE
    ours = ("matching", "stereo", "eval", "attention_ops", "data_scripts")
    return (module, rest) if module.split(".")[0] in ours else None


def main_of(module):
    try:
        return importlib.import_module(f"{module}.__main__").main
    except ModuleNotFoundError:
        return importlib.import_module(module).main


@pytest.fixture
def small_pair(monkeypatch, tmp_path):
    left, right, truth = skimage.data.stereo_motorcycle()
    small = left[::3, ::3], right[::3, ::3], truth[::3, ::3] / 3
    monkeypatch.setattr(skimage.data, "stereo_motorcycle", lambda: small)
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(tmp_path)  # as python -m does


def write_the_pair():
    """What the first block of the first page does, which the other pages build upon."""
    language, text = blocks(ROOT / "docs/guide/match.md")[0]
    assert language == "python"
    exec(text, {})


@pytest.mark.slow
@pytest.mark.parametrize("page", GUIDE, ids=lambda page: page.stem)
@pytest.mark.usefixtures("small_pair")
def test_what_a_page_of_the_guide_says_runs(page, capsys):
    write_the_pair()
    names = {}
    for language, text in blocks(page):
        if language == "python":
            exec(compile(text, str(page), "exec"), names)
        if language == "bash":
            for line in commands(language, text):
                module, words = program(shlex.split(line, comments=True))
                assert main_of(module)(words) == 0, f"{line}: {capsys.readouterr().err}"


def subcommands_of(module, words):
    """The words that choose among the commands of a module, each of which has a --help of its own."""
    if module == "data_scripts":
        return [word.replace("COMMAND", "hpatches") for word in words[:1]]
    known = {"train", "train-points", "bench", "cost", "ablation"}
    if "." not in module:
        known |= set(getattr(importlib.import_module(f"{module}.__main__"), "COMMANDS", ()))
    if not known & set(words[:1]):
        return []
    if words[0] == "export":  # what is exported has options of its own
        return words[:3] if words[1].startswith("-") else words[:2]
    return words[:1]


COMMANDS = [
    pytest.param(line, id=f"{page.stem}: {line}")
    for page in PAGES
    for language, text in blocks(page)
    for line in commands(language, text)
]


@functools.cache
def help_of(module, subcommands):
    """What --help prints."""
    shown = io.StringIO()
    with contextlib.redirect_stdout(shown), pytest.raises(SystemExit) as end:
        main_of(module)([*subcommands, "--help"])
    assert end.value.code == 0
    return shown.getvalue()


@pytest.mark.parametrize("line", COMMANDS)
def test_every_option_of_a_command_is_in_its_help(line, monkeypatch):
    monkeypatch.setenv("COLUMNS", "200")
    words = shlex.split(line, comments=True)
    found = program(words)
    if found is None and words[:3] != ["python", "-m", "venv"]:
        while "=" in words[0]:  # a variable of the environment
            words = words[1:]
        assert words[0] in {"make", *OTHER_PROGRAMS}, f"what is {line}?"
        if words[0] == "make":
            assert f"\n{words[1]}:" in (ROOT / "Makefile").read_text()
    if found is None:
        return
    module, rest = found
    subcommands = tuple(subcommands_of(module, rest))
    shown = help_of(module, subcommands)
    for word in (word for word in rest if re.match(r"--?[a-z]", word)):
        assert re.search(rf"(?<![\w-]){re.escape(word.split('=')[0])}(?![\w-])", shown), word


EXTRAS = re.findall(
    r"^(\w+) =$",
    (ROOT / "setup.cfg").read_text().split("extras_require]")[1].split("\n[")[0],
    re.MULTILINE,
)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.relative_to(ROOT).as_posix())
def test_every_extra_of_a_page_is_in_setup(page):
    named = re.findall(r"(?:quadview|\.)\[(\w+)\]", page.read_text())
    assert not set(named) - set(EXTRAS)
