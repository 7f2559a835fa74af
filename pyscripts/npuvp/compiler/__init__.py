"""From a model, a generation plan and a platform to firmware."""

from npuvp.compiler.compile import Compilation, compile_generation, compile_model
from npuvp.compiler.errors import CompileError

__all__ = ["Compilation", "CompileError", "compile_generation", "compile_model"]
