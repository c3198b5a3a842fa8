"""Where the network runs, and in which number format."""

import torch

from attention_ops.backends import check_forced
from attention_ops.cpu import has_fast_bfloat16

CUDA_WITH_BF16 = (8, 0)  # compute capability of the first GPUs that multiply bfloat16


def fast_dtype(device: torch.device) -> torch.dtype:
    """bfloat16 where the processor multiplies it in hardware, else float32."""
    if device.type == "cuda":
        native = torch.cuda.get_device_capability(device) >= CUDA_WITH_BF16
    else:
        native = device.type == "cpu" and has_fast_bfloat16()
    return torch.bfloat16 if native else torch.float32


def chosen_dtype(name: str) -> torch.dtype | None:
    """The dtype of that name; None, which leaves it to the device, for "auto".

    Raises:
        ValueError: networks run in no such dtype.
    """
    dtypes = {"auto": None, "float32": torch.float32, "bfloat16": torch.bfloat16}
    if name not in dtypes:
        raise ValueError(f"dtype must be one of {', '.join(dtypes)}, got {name!r}")
    return dtypes[name]


def chosen_device(name: str | torch.device) -> torch.device:
    """The device called `name`.

    Raises:
        ValueError: torch knows no such device, or does not see it on this machine, or the backend that
            is forced does not serve it.
    """
    try:
        device = torch.device(name)
    except RuntimeError as error:
        raise ValueError(
            f"device must be 'cpu', 'cuda' or 'cuda:N', got {name!r}; use device='cpu'"
        ) from error
    if device.type == "cuda" and (device.index or 0) >= torch.cuda.device_count():
        raise ValueError(
            f"device {str(name)!r} is wanted, but torch {torch.__version__} sees "
            f"{torch.cuda.device_count()} CUDA devices here; use device='cpu'"
        )
    check_forced(str(device))
    return device
