import json

import pytest

from eval.journal import Journal
from eval.passes import score_all


def test_rows_are_found_again(tmp_path):
    with Journal(tmp_path / "j", "one") as journal:
        journal.add("0", {"error": float("inf")})
    with Journal(tmp_path / "j", "one") as journal:
        assert journal.rows == {"0": {"error": float("inf")}}


def test_rows_of_something_else_are_thrown_away(tmp_path):
    with Journal(tmp_path / "j", "one") as journal:
        journal.add("0", {})
    with Journal(tmp_path / "j", "two") as journal:
        assert journal.rows == {}
    with Journal(tmp_path / "j", "one") as journal:
        assert journal.rows == {}


@pytest.mark.parametrize("cut", range(1, 25))
def test_a_line_that_was_cut_anywhere_is_dropped_and_the_rest_kept(tmp_path, cut):
    with Journal(tmp_path / "j", "one") as journal:
        journal.add("0", {"a": 1})
        journal.add("1", {"a": 2})
    text = (tmp_path / "j").read_text()
    (tmp_path / "j").write_text(text[:-cut])
    with Journal(tmp_path / "j", "one") as journal:
        assert journal.rows == {"0": {"a": 1}}
        journal.add("1", {"a": 3})
    with Journal(tmp_path / "j", "one") as journal:
        assert journal.rows == {"0": {"a": 1}, "1": {"a": 3}}


def test_a_row_that_stands_there_twice_counts_once(tmp_path):
    with Journal(tmp_path / "j", "one") as journal:
        journal.add("0", {"a": 1})
    with (tmp_path / "j").open("a") as file:
        file.write(json.dumps({"key": "0", "row": {"a": 2}}) + "\n")
    with Journal(tmp_path / "j", "one") as journal:
        assert journal.rows == {"0": {"a": 1}}


def square(number):
    return {"square": number**2}


@pytest.mark.parametrize("workers", [1, pytest.param(2, marks=pytest.mark.slow)])
def test_scores_come_in_the_order_of_the_tasks_and_are_made_once(tmp_path, workers):
    numbers = list(range(9))
    with Journal(tmp_path / "j", "one") as journal:
        journal.add("4", {"square": "kept"})
    rows = score_all(tmp_path / "j", "one", numbers, square, "test", workers)
    assert [row["square"] for row in rows] == [0, 1, 4, 9, "kept", 25, 36, 49, 64]
