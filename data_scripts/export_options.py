"""What every command is told that exports a network. Nothing heavy is imported before one runs."""

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from torch.export import ExportedProgram

    from data_scripts.exported_file import Signature


@dataclass(frozen=True)
class ExportOptions:
    """Which files to write.

    Args:
        onnx: File for ONNX, .onnx; wants the extra quadview[onnx].
        torch: File for torch.export, .pt2.
    """

    onnx: Path | None = None
    torch: Path | None = None

    def __post_init__(self) -> None:
        if self.onnx is None and self.torch is None:
            raise ValueError("wanted --onnx FILE.onnx, --torch FILE.pt2 or both, got neither")

    def check_files(self) -> None:
        """Raises ValueError or OSError, before the work, where a file could not be written."""
        from data_scripts.atomic import writable
        from data_scripts.exported_file import check_exporter

        for path, suffix in ((self.onnx, ".onnx"), (self.torch, ".pt2")):
            if path is not None:
                check_exporter(writable(path, (suffix,)))

    def write(self, program: "ExportedProgram", signature: "Signature") -> str:
        """Writes the program into all files; their names."""
        from data_scripts.exported_file import write_exported

        written = [path for path in (self.onnx, self.torch) if path is not None]
        for path in written:
            write_exported(path, program, signature)
        return ", ".join(map(str, written))


def parse_size(text: str) -> tuple[int, int]:
    """Height and width that are written as HxW."""
    words = text.lower().split("x")
    if len(words) != 2 or not all(word.isdecimal() and int(word) > 0 for word in words):
        raise ValueError(f"a size must be HxW in pixels, as 480x640, got {text!r}")
    return int(words[0]), int(words[1])
