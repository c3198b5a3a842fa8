import importlib
import pkgutil
import subprocess
import sys
from pathlib import Path
from types import ModuleType

import pytest

import data_scripts

ROOT = Path(__file__).parents[2]


@pytest.mark.parametrize("name", data_scripts.__all__)
def test_a_name_of_the_list_is_what_it_says_whatever_was_imported_before(name):
    # a module of the same name would take its place as soon as someone imports it
    assert name not in {module.name for module in pkgutil.iter_modules(data_scripts.__path__)}
    assert not isinstance(getattr(data_scripts, name), ModuleType)


def test_every_module_can_be_imported_first():
    for module in pkgutil.iter_modules(data_scripts.__path__):
        if module.name != "__main__":
            importlib.import_module(f"data_scripts.{module.name}")


def test_an_unknown_name_is_an_attribute_error():
    with pytest.raises(AttributeError, match="no attribute 'nothing'"):
        data_scripts.nothing  # noqa: B018


def test_the_package_itself_imports_nothing_heavy():
    code = "import sys, data_scripts; assert not {'torch', 'cv2', 'h5py'} & set(sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
