import pytest
import torch

from attention_ops import precision
from attention_ops.precision import chosen_device, chosen_dtype, fast_dtype


@pytest.mark.parametrize(("native", "dtype"), [(True, torch.bfloat16), (False, torch.float32)])
def test_bfloat16_is_taken_only_where_the_processor_has_it(monkeypatch, native, dtype):
    monkeypatch.setattr(precision, "has_fast_bfloat16", lambda: native)
    assert fast_dtype(torch.device("cpu")) is dtype


def test_a_device_that_is_not_here_is_refused_with_what_is_here(monkeypatch):
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 1)
    assert chosen_device("cuda:0") == torch.device("cuda", 0)
    with pytest.raises(ValueError, match="sees 1 CUDA devices here; use device='cpu'"):
        chosen_device("cuda:1")


def test_a_dtype_is_chosen_by_name_and_auto_leaves_it_to_the_device():
    names = ("auto", "float32", "bfloat16")
    assert [chosen_dtype(name) for name in names] == [None, torch.float32, torch.bfloat16]
    with pytest.raises(ValueError, match="one of auto, float32, bfloat16, got 'float64'"):
        chosen_dtype("float64")
