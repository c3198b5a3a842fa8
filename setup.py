"""Adds the compiled ops to the metadata in setup.cfg.

QUADVIEW_BUILD=off leaves them out; =require makes a failure to build them fail the installation.
Otherwise a failure prints a warning, and everything runs on the portable backend. The CUDA kernels
are built where nvcc and a torch with CUDA are to be seen (pip hides torch unless it is called with
--no-build-isolation); `python -m attention_ops build --cuda` builds them later.
"""

import os
import runpy
import sys
from pathlib import Path
from types import SimpleNamespace

from setuptools import Extension, setup
from setuptools.command.build_ext import build_ext

# by path: pip does not put the root on sys.path
build = runpy.run_path("attention_ops/build.py")
cuda_build = runpy.run_path("attention_ops/cuda_build.py")
CUDA = "_cuda_kernels"
MODE = os.environ.get("QUADVIEW_BUILD", "auto")
if MODE not in ("auto", "require", "off"):
    raise SystemExit(f"QUADVIEW_BUILD must be auto, require or off, got {MODE!r}")


class BuildKernels(build_ext):
    """Builds the library by attention_ops/build.py instead of distutils."""

    def get_ext_filename(self, fullname: str) -> str:
        """The library's own name: it is loaded by ctypes, whatever the version of Python."""
        *folders, name = fullname.split(".")
        return str(Path(*folders, (cuda_build if name == CUDA else build)["LIBRARY"]))

    def build_extension(self, ext: Extension) -> None:
        """Compiles into the folder where setuptools expects the extension."""
        folder, on_cuda = Path(self.get_ext_fullpath(ext.name)).parent, ext.name.endswith(CUDA)
        try:
            if on_cuda:
                build["build_cuda_library"](folder, SimpleNamespace(**cuda_build))
            else:
                build["build_library"](folder)
        except build["BuildError"] as error:
            if MODE == "require":
                raise
            what, who = ("CUDA", "Triton") if on_cuda else ("CPU", "the portable backend")
            sys.stderr.write(f"warning: no {what} kernels, {who} serves: {error}\n")


def extensions() -> list[Extension]:
    """One for each library that shall be built here."""
    names = [] if MODE == "off" else ["_kernels"]
    if names and cuda_build["find_nvcc"]() and cuda_build["torch_cuda"]():
        names.append(CUDA)
    return [
        Extension(f"attention_ops.{name}", sources=[], optional=MODE != "require") for name in names
    ]


setup(ext_modules=extensions(), cmdclass={"build_ext": BuildKernels})
