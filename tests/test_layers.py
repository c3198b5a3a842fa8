import ast
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
GROUND = {"attention_ops", "data_scripts"}
MAY_IMPORT = {"attention_ops": set(), "data_scripts": set(), "matching": GROUND, "stereo": GROUND}
MAY_IMPORT |= {"eval": GROUND | {"matching", "stereo"}}
DRAWERS = {"utils", "util", "misc", "common", "core", "helpers", "lib", "src"}


def imported_packages(package):
    names = set()
    for path in (ROOT / package).rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Import):
                names |= {alias.name.split(".")[0] for alias in node.names}
            elif isinstance(node, ast.ImportFrom) and node.module:
                names.add(node.module.split(".")[0])
    return names


@pytest.mark.parametrize("package", MAY_IMPORT)
def test_package_imports_only_what_lies_below_it(package):
    assert imported_packages(package) & set(MAY_IMPORT) <= MAY_IMPORT[package] | {package}


@pytest.mark.parametrize("package", MAY_IMPORT)
def test_no_file_is_a_drawer_for_everything(package):
    names = {path.stem for path in (ROOT / package).rglob("*.py")}
    names |= {path.name for path in (ROOT / package).rglob("*") if path.is_dir()}
    assert not names & DRAWERS


@pytest.mark.parametrize("package", MAY_IMPORT)
def test_no_file_is_longer_than_350_lines(package):
    lines = {
        path.name: len(path.read_text().splitlines()) for path in (ROOT / package).rglob("*.py")
    }
    assert not {name: count for name, count in lines.items() if count > 350}
