"""A device that pretends not to be the CPU: finds what a GPU would refuse, without a GPU.

Tensors on it are computed on the CPU, so that branches on values run as they are; but they call
their device "pretend", cannot go to NumPy, and cannot meet a tensor of the CPU in one operation,
save a number () of it, as on CUDA. Operations that a GPU would make the host wait for are counted.
"""

import sys
from collections import Counter
from types import ModuleType

import torch
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves, tree_map

NAME = "pretend"
DEVICE = torch.device("privateuseone", 0)
_aten = torch.ops.aten
WAITS = (_aten._local_scalar_dense, _aten.nonzero, _aten._unique2, _aten.equal, _aten.is_nonzero)
MOVES = (_aten._to_copy, _aten.copy_)


class _Guard(torch._C._acc.DeviceGuard):
    def type_(self):
        return torch._C._autograd.DeviceType.PrivateUse1


def _device_module():
    module = ModuleType(f"torch.{NAME}")
    module.is_available = lambda: True
    module.device_count = lambda: 1
    module.current_device = lambda: 0
    module.manual_seed_all = lambda _seed: None
    module._is_in_bad_fork = lambda: False
    module.get_amp_supported_dtype = lambda: [torch.float16, torch.bfloat16]
    return module


torch.utils.rename_privateuse1_backend(NAME)
torch._C._acc.register_python_privateuseone_device_guard(_Guard())
_NO_AUTOCAST = torch.library.Library("_", "IMPL", "AutocastPrivateUse1")
_NO_AUTOCAST.fallback(torch.library.fallthrough_kernel)


class PretendTensor(torch.Tensor):
    """A tensor on the device; `inner` holds its numbers, on the CPU."""

    @staticmethod
    def __new__(cls, inner):
        return torch.Tensor._make_wrapper_subclass(
            cls,
            inner.shape,
            strides=inner.stride(),
            storage_offset=inner.storage_offset(),
            dtype=inner.dtype,
            device=DEVICE,
        )

    def __init__(self, inner):
        self.inner = inner

    @classmethod
    def __torch_dispatch__(cls, func, types, args=(), kwargs=None):
        raise RuntimeError(f"{func} outside of `with Pretending()`")


class Pretending(TorchDispatchMode):
    """Inside, device "pretend" exists; `waits` counts the operations that a host would wait for,
    `uploads` the tensors of the CPU that went there: a CUDA graph captures neither.
    """

    def __init__(self):
        super().__init__()
        self.waits = Counter()
        self.uploads = Counter()

    def __enter__(self):
        torch._register_device_module(NAME, _device_module())
        return super().__enter__()

    def __exit__(self, *error):
        super().__exit__(*error)
        delattr(torch, NAME)  # other tests ask torch which devices there are
        del sys.modules[f"torch.{NAME}"]

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        kwargs = dict(kwargs or {})
        tensors = [x for x in tree_leaves((args, kwargs)) if isinstance(x, torch.Tensor)]
        there = [x for x in tensors if isinstance(x, PretendTensor)]
        packet = func.overloadpacket
        if there and packet not in MOVES:
            _refuse_mixed(func, tensors)
        if there and packet in WAITS:
            self.waits[packet.__name__] += 1
        wanted = kwargs.get("device")
        stays = bool(there) if wanted is None else torch.device(wanted).type == NAME
        if packet is _aten.copy_:
            stays = isinstance(args[0], PretendTensor)
        if stays and packet in MOVES and any(not isinstance(x, PretendTensor) for x in tensors):
            self.uploads[packet.__name__] += 1
        if stays and wanted is not None:
            kwargs["device"] = torch.device("cpu")
        plain = tree_map(lambda x: x.inner if isinstance(x, PretendTensor) else x, (args, kwargs))
        result = func(*plain[0], **plain[1])
        given = {id(x.inner): x for x in there}  # an operation in place gives its own tensor back
        if not stays:
            return result
        return tree_map(
            lambda x: given.get(id(x), PretendTensor(x)) if isinstance(x, torch.Tensor) else x,
            result,
        )


def _refuse_mixed(func, tensors):
    strangers = [x for x in tensors if not isinstance(x, PretendTensor) and x.dim()]
    if strangers:
        shapes = [tuple(x.shape) for x in strangers]
        raise RuntimeError(f"{func} of tensors on {NAME} got tensors {shapes} of the CPU")
