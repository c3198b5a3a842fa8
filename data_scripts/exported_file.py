"""Traced networks in files that other programs run: ONNX (.onnx) and what torch.export saves (.pt2).

Which network, and how it is traced, is the caller's business: `matching.network_export`,
`stereo.network_export`.
"""

import json
import logging
import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from importlib import import_module, metadata
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import torch
from torch.export import ExportedProgram

from data_scripts.atomic import replacing

OPSET = 18  # of ONNX: the one that PyTorch writes without a conversion
NOTES = "quadview.json"  # of a .pt2: what ONNX keeps as metadata
NEEDED = ("onnx", "onnxscript")  # packages, for .onnx alone


@dataclass(frozen=True)
class Signature:
    """What goes into a network and what comes out of it."""

    inputs: Sequence[str]  # names, in the order of the arguments
    outputs: Sequence[str]
    notes: Mapping[str, str]  # sizes, units, whatever a user of the file must know


def check_exporter(path: Path) -> None:
    """Raises ValueError if the packages that write this kind of file are not there."""
    missing = [name for name in NEEDED if find_spec(name) is None]
    if path.suffix.lower() == ".onnx" and missing:
        raise ValueError(
            f"{path}: writing ONNX wants the package {missing[0]}; "
            "install it with pip install 'quadview[onnx]'"
        )


def write_exported(path: Path, program: ExportedProgram, signature: Signature) -> None:
    """Writes `program`, whole or not at all; an ONNX file has passed `onnx.checker`.

    Args:
        path: *.onnx or *.pt2.
        program: of `torch.export.export`.
        signature: the names of its inputs and outputs, and what to write beside them.

    Raises:
        ValueError: a package is missing.
    """
    check_exporter(path)
    notes = {"quadview": _version(), **signature.notes}
    if path.suffix.lower() == ".pt2":
        with replacing(path) as temporary:
            torch.export.save(program, temporary, extra_files={NOTES: json.dumps(notes, indent=2)})
        return
    onnx = import_module("onnx")
    model = _to_onnx(program, signature)
    onnx.helper.set_model_props(model, notes)
    onnx.checker.check_model(model, full_check=True)
    with replacing(path) as temporary:
        temporary.write_bytes(model.SerializeToString())


def _to_onnx(program: ExportedProgram, signature: Signature) -> Any:
    """The ModelProto of a program; equal candidates of a sort keep their order.

    Constants are left to the runtime, which folds them in seconds as it loads; the exporter's own
    optimiser takes minutes for a network of some thousand operators.
    """
    op = import_module("onnxscript").opset18

    def stable_sort(values: Any, stable: bool, dim: int, descending: bool = False) -> Any:  # noqa: ARG001
        size = op.Reshape(op.Gather(op.Shape(values), dim), op.Constant(value_ints=[1]))
        # ONNX promises that of equals the one with the lower index comes first.
        return op.TopK(values, size, axis=dim, largest=descending, sorted=True)

    with _quiet():
        exported = torch.onnx.export(
            program,
            (),
            input_names=list(signature.inputs),
            output_names=list(signature.outputs),
            opset_version=OPSET,
            dynamo=True,
            verbose=False,
            optimize=False,
            custom_translation_table={torch.ops.aten.sort.stable: stable_sort},
        )
    assert exported is not None
    return exported.model_proto


def _version() -> str:
    try:
        return metadata.version("quadview")
    except metadata.PackageNotFoundError:
        return "unknown"


@contextmanager
def _quiet() -> Iterator[None]:
    """Without PyTorch's words on packages that it does not find and on its own deprecated calls."""
    log = logging.getLogger("torch.onnx")
    before = log.level
    log.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        log.setLevel(before)
