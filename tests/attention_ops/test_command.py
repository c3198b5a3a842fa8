import importlib

import pytest

from attention_ops.command import count

pytestmark = pytest.mark.once


def test_a_count_is_a_number_of_one_or_more():
    assert count("12") == 12


@pytest.mark.parametrize("text", ["0", "-1", "2.5", "many"])
@pytest.mark.parametrize(
    "module", ["attention_ops.bench", "attention_ops.bench_rows", "stereo.bench"]
)
def test_a_bench_of_no_turns_is_told(module, text, capsys):
    with pytest.raises(SystemExit) as stopped:
        importlib.import_module(module).main([f"--repeats={text}"])
    assert stopped.value.code == 2
    assert f"argument --repeats: must be 1 or more, got {text}" in capsys.readouterr().err
