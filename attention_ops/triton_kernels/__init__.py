"""Kernels in Triton for CUDA devices; the modules above import them when a call needs them."""
