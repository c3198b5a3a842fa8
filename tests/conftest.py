"""Settings of every test: one thread, poisoned memory, the same random numbers every time."""

import os

import cv2
import hypothesis
import pytest
import torch

hypothesis.settings.register_profile("repeatable", derandomize=True, deadline=None)


def pytest_configure():
    torch.set_num_threads(1)
    cv2.setNumThreads(1)
    hypothesis.settings.load_profile("repeatable")


def pytest_collection_modifyitems(items):
    skips = {}
    if "QUADVIEW_LONG_TESTS" not in os.environ:
        skips["long"] = pytest.mark.skip(reason="long: QUADVIEW_LONG_TESTS=1 runs it")
    if os.environ.get("QUADVIEW_BACKEND") == "portable":
        skips["once"] = pytest.mark.skip(reason="run without a forced backend")
    for item in items:
        for name, skip in skips.items():
            if item.get_closest_marker(name):
                item.add_marker(skip)


@pytest.fixture(autouse=True)
def _uninitialised_memory_is_nan():
    torch.use_deterministic_algorithms(True)  # fill_uninitialized_memory is on by default
    yield
    torch.use_deterministic_algorithms(False)


@pytest.fixture
def generator():
    return torch.Generator().manual_seed(0)
