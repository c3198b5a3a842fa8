import sys
from types import SimpleNamespace

import pytest
import torch

from data_scripts.ray_stream import Crew, work_through


class RayError(Exception):
    pass


class PretendRay:
    """What is used of Ray, in this process: rows are those of the items, told whole."""

    def __init__(self, resources, fails_after=None):
        self.resources, self.fails_after = resources, fails_after
        self.exceptions = SimpleNamespace(RayError=RayError)
        context = SimpleNamespace(enable_progress_bars=True)
        self.data = SimpleNamespace(
            from_items=self.from_items,
            ActorPoolStrategy=lambda size: size,
            DataContext=SimpleNamespace(get_current=lambda: context),
        )
        self.connected = self.ended = 0

    def is_initialized(self):
        return False

    def init(self, **options):
        self.connected += 1
        self.options = options

    def shutdown(self):
        self.ended += 1

    def cluster_resources(self):
        return self.resources

    def put(self, work):
        return ("reference", work)

    def from_items(self, items, override_num_blocks):
        self.items, self.tasks = items, override_num_blocks
        return self

    def map_batches(self, actor, **settings):
        self.actor, self.settings = actor, settings
        return self

    def iter_rows(self):
        for number, item in enumerate(self.items):
            if number == self.fails_after:
                raise RayError("Traceback of an actor\nValueError: no room")
            yield item


@pytest.fixture
def pretend(monkeypatch):
    def install(*args, **options):
        ray = PretendRay(*args, **options)
        monkeypatch.setitem(sys.modules, "ray", ray)
        monkeypatch.setitem(sys.modules, "ray.data", ray.data)
        monkeypatch.delenv("RAY_ADDRESS", raising=False)
        return ray

    return install


def items(count):
    return [{"number": number} for number in range(count)]


def crew(device="cpu", actors=None):
    return Crew(dict, "the work", device, actors)


def test_every_row_is_told_and_the_cluster_is_left(pretend):
    ray, told = pretend({"CPU": 2}), []
    work_through(crew(), items(3), "files", told.append)
    assert told == items(3)
    assert (ray.connected, ray.ended) == (1, 1)
    assert not ray.data.DataContext.get_current().enable_progress_bars


@pytest.mark.parametrize(
    ("device", "given", "resources", "wanted"),
    [
        ("cpu", None, {"CPU": 6}, 3),  # two threads each
        ("cpu", None, {"CPU": 1}, 1),
        ("cpu", 5, {"CPU": 6}, 5),
        ("cuda", None, {"CPU": 6, "GPU": 4}, 4),
        ("cuda:0", None, {"CPU": 6}, 1),
    ],
)
def test_there_is_an_actor_for_each_device(pretend, monkeypatch, device, given, resources, wanted):
    monkeypatch.setattr(torch, "get_num_threads", lambda: 2)
    ray = pretend(resources)
    work_through(crew(device, given), items(50), "files", print)
    assert ray.settings["compute"] == wanted
    assert ray.settings["fn_constructor_args"] == (("reference", "the work"), wanted, 2)
    on_gpu = device != "cpu"
    assert (ray.settings["num_cpus"], ray.settings["num_gpus"]) == ((1, 1) if on_gpu else (2, 0))


@pytest.mark.parametrize(
    # Four tasks for each of two actors; more where a task would hold more than 8 items.
    ("count", "tasks"),
    [(3, 3), (50, 8), (64, 8), (65, 9), (800, 100)],
)
def test_tasks_are_many_enough_for_all_actors_and_small(pretend, count, tasks):
    ray = pretend({"CPU": 2})
    work_through(crew(actors=2), items(count), "files", lambda row: row)
    assert ray.tasks == tasks


def test_ray_giving_up_is_one_line_and_the_cluster_is_left(pretend):
    ray, told = pretend({"CPU": 2}, fails_after=2), []
    with pytest.raises(
        OSError, match=r"^Ray gave up \(ValueError: no room\); whole files are kept"
    ):
        work_through(crew(), items(5), "whole files", told.append)
    assert told == items(2)
    assert ray.ended == 1


def test_no_items_want_no_ray(monkeypatch):
    monkeypatch.setitem(sys.modules, "ray", None)
    work_through(crew(), [], "files", print)
    with pytest.raises(ValueError, match="install it with pip install 'quadview\\[ray\\]'"):
        work_through(crew(), items(1), "files", print)
