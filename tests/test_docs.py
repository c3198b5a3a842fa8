"""What the pages say is there: links lead somewhere, the reference has all public names, these say what they take."""

import dataclasses
import importlib
import importlib.util
import inspect
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PAGES = [ROOT / "README.md", ROOT / "CHANGELOG.md", *sorted((ROOT / "docs").rglob("*.md"))]
PACKAGES = ("attention_ops", "data_scripts", "matching", "stereo")
PUBLIC = [f"{p}.{name}" for p in PACKAGES for name in importlib.import_module(p).__all__]
CODE = re.compile(r"^```.*?^```$|`[^`\n]+`", re.MULTILINE | re.DOTALL)


def anchors(page):
    """What its headings are called in links, by GitHub and by MkDocs alike."""
    found = []
    for heading in re.findall(
        r"^#+ (.*)$", re.sub(r"^```.*?^```$", "", page.read_text(), flags=re.M | re.S), re.M
    ):
        text = re.sub(r"\[([^\]]*)\]\([^)]*\)", r"\1", heading.lower())
        found.append(re.sub(r"[-\s]+", "-", re.sub(r"[^\w\s-]", "", text).strip()))
    return set(found)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.relative_to(ROOT).as_posix())
def test_links_and_pictures_lead_somewhere(page):
    for link in re.findall(r"\]\(([^)\s]+)\)", CODE.sub("", page.read_text())):
        if re.match(r"https?://", link):
            continue
        place, _, anchor = link.partition("#")
        target = (page.parent / place).resolve() if place else page
        assert target.exists(), link
        if anchor and "." not in anchor:  # those with a dot are names of the reference
            assert anchor in anchors(target), link


@pytest.mark.parametrize("package", PACKAGES)
def test_the_reference_has_every_public_name_and_no_other(package):
    page = (ROOT / f"docs/reference/{package}.md").read_text()
    listed = re.findall(r"^::: ([\w.]+)$", page, re.MULTILINE)
    assert len(listed) == len(set(listed))
    own = {name.removeprefix(f"{package}.") for name in listed if name.count(".") == 1}
    assert own == set(importlib.import_module(package).__all__)


@pytest.mark.parametrize(
    "page", sorted((ROOT / "docs/reference").glob("*.md")), ids=lambda p: p.stem
)
def test_what_the_reference_lists_is_there(page):
    for name in re.findall(r"^::: ([\w.]+)$", page.read_text(), re.MULTILINE):
        module, _, attribute = name.rpartition(".")
        assert hasattr(importlib.import_module(module), attribute), name


def documented(thing):
    """The functions and classes of a public thing with the texts that may tell of their arguments."""
    text = inspect.getdoc(thing) or ""
    if not inspect.isclass(thing):
        yield thing.__name__, thing, text
        return
    if not dataclasses.is_dataclass(thing) and "__init__" in vars(thing):
        yield thing.__name__, thing.__init__, text
    for name, member in vars(thing).items():
        if inspect.isfunction(member) and not name.startswith("_"):
            yield f"{thing.__name__}.{name}", member, text + (member.__doc__ or "")


REFERS = re.compile(r"\b[Ss]ee `|arguments and errors as `|as `\w+`|: see above")


@pytest.mark.parametrize("name", PUBLIC)
def test_a_public_name_says_what_it_takes(name):
    package, _, attribute = name.partition(".")
    thing = getattr(importlib.import_module(package), attribute)
    if not callable(thing):
        return
    assert inspect.getdoc(thing), name
    for where, function, text in documented(thing):
        assert function.__doc__ or function.__name__ == "__init__", where
        if REFERS.search(text):
            continue
        for parameter in list(inspect.signature(function).parameters.values()):
            if parameter.name != "self":
                said = re.search(rf"\b{parameter.name}\b", text)
                assert said, f"{where} does not say what {parameter.name} is"


SOURCE = """
class Pose:
    \"\"\"A pose.\"\"\"

    # (3, 3) rotation,
    # of the right kind
    R: list
    t: list  # (3,) metres
    both: (
        int
    )  # told behind a bracket
    bare: int
    doc: int  # not this
    \"\"\"This.\"\"\"
"""


def test_comments_of_fields_are_what_the_reference_says_of_them(tmp_path):
    griffe = pytest.importorskip("griffe", reason="griffe comes with the extra quadview[docs]")
    extensions = griffe.load_extensions(ROOT / "docs/field_comments.py")
    (tmp_path / "posed.py").write_text(SOURCE)
    pose = griffe.load("posed", search_paths=[tmp_path], extensions=extensions)["Pose"]
    said = {name: pose[name].docstring and pose[name].docstring.value for name in pose.members}
    assert said == {
        "R": "(3, 3) rotation, of the right kind",
        "t": "(3,) metres",
        "both": "told behind a bracket",
        "bare": None,
        "doc": "This.",
    }


def test_the_site_asks_for_nothing_from_elsewhere():
    settings = (ROOT / "mkdocs.yml").read_text()
    assert "font: false" in settings
    assert not re.search(r"https?://", settings)
