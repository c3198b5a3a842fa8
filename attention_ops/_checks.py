"""Checks at the door of the public functions: shapes bound by letter, dtypes, masks, sizes."""

import torch
from torch import Tensor

MAX_ELEMENTS = 2**31 - 1  # kernels number tokens and rows with int32


def check_shape(
    name: str, tensor: Tensor, letters: str, known: dict[str, int] | None = None
) -> dict[str, int]:
    """Binds each letter of `letters` to a size of `tensor`, on top of `known`.

    Returns:
        `known` with the letters that `tensor` adds.

    Raises:
        ValueError: `tensor` has another number of axes, a size that `known` contradicts, or
            more than 2**31 - 1 elements.
    """
    known = known or {}
    axes = letters.split()
    fixed = {letter: known[letter] for letter in axes if letter in known}
    if len(axes) != tensor.dim() or any(tensor.shape[axes.index(x)] != n for x, n in fixed.items()):
        given = ", ".join(f"{letter}={size}" for letter, size in fixed.items())
        wanted = f"({', '.join(axes)})" + (f" with {given}" if given else "")
        raise ValueError(f"{name} must be {wanted}, got {tuple(tensor.shape)}")
    check_elements(name, tensor.numel())
    return known | dict(zip(axes, tensor.shape, strict=True))


def check_elements(name: str, count: int) -> None:
    """Refuses a tensor of more than 2**31 - 1 elements.

    Raises:
        ValueError: `count` is larger.
    """
    if count > MAX_ELEMENTS:
        raise ValueError(
            f"{name} must have at most {MAX_ELEMENTS} elements, got {count}; "
            "split the batch or use a smaller map"
        )


def check_mask(name: str, mask: Tensor | None, letters: str, known: dict[str, int]) -> None:
    """Checks an optional bool mask (True = valid) against sizes that are bound already.

    Raises:
        TypeError: the mask is not bool.
        ValueError: the mask has another shape.
    """
    if mask is None:
        return
    if mask.dtype != torch.bool:
        raise TypeError(f"{name} must be bool (True = valid), got {mask.dtype}; use mask.bool()")
    check_shape(name, mask, letters, known)


def check_same_dtype(**tensors: Tensor) -> None:
    """Checks that all tensors have one floating dtype and one device.

    Raises:
        TypeError: two of them differ in dtype, or the dtype is not floating.
        ValueError: two of them differ in device.
    """
    (first_name, first), *rest = tensors.items()
    if not first.dtype.is_floating_point:
        raise TypeError(f"{first_name} must be floating, got {first.dtype}; use .float()")
    for name, tensor in rest:
        if tensor.dtype != first.dtype:
            raise TypeError(
                f"{name} must be {first.dtype} as {first_name} is, got {tensor.dtype}; "
                f"use {name}.to({first_name}.dtype)"
            )
    check_same_device(**tensors)


def check_same_device(**tensors: Tensor | None) -> None:
    """Checks that all tensors are on the device of the first; those that are None do not count.

    Kernels take addresses: one of another device would end the whole process.

    Raises:
        ValueError: one is elsewhere.
    """
    (_, first), *rest = tensors.items()
    for name, tensor in rest:
        if tensor is not None and first is not None and tensor.device != first.device:
            raise ValueError(
                f"{name} must be on {first.device}, got {tensor.device}; "
                f"use {name}.to({str(first.device)!r})"
            )


def check_choice(name: str, value: str, choices: tuple[str, ...]) -> None:
    """Checks that `value` is one of `choices`.

    Raises:
        ValueError: it is not; the message lists the choices.
    """
    if value not in choices:
        raise ValueError(f"{name} must be one of {', '.join(choices)}, got {value!r}")
