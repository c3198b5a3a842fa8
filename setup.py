"""Adds the compiled ops to the metadata in setup.cfg.

QUADVIEW_BUILD=off leaves them out; =require makes a failure to build them fail the installation.
Otherwise a failure prints a warning, and everything runs on the portable backend.
"""

import os
import runpy
import sys
from pathlib import Path

from setuptools import Extension, setup
from setuptools.command.build_ext import build_ext

build = runpy.run_path("attention_ops/build.py")  # by path: pip does not put the root on sys.path
MODE = os.environ.get("QUADVIEW_BUILD", "auto")
if MODE not in ("auto", "require", "off"):
    raise SystemExit(f"QUADVIEW_BUILD must be auto, require or off, got {MODE!r}")


class BuildKernels(build_ext):
    """Builds the library by attention_ops/build.py instead of distutils."""

    def get_ext_filename(self, fullname: str) -> str:
        """The library's own name: it is loaded by ctypes, whatever the version of Python."""
        return str(Path(*fullname.split(".")[:-1], build["LIBRARY"]))

    def build_extension(self, ext: Extension) -> None:
        """Compiles into the folder where setuptools expects the extension."""
        try:
            build["build_library"](Path(self.get_ext_fullpath(ext.name)).parent)
        except build["BuildError"] as error:
            if MODE == "require":
                raise
            sys.stderr.write(f"warning: no CPU kernels, the portable backend serves: {error}\n")


kernels = Extension("attention_ops._kernels", sources=[], optional=MODE != "require")
setup(ext_modules=[] if MODE == "off" else [kernels], cmdclass={"build_ext": BuildKernels})
