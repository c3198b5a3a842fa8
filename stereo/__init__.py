"""Disparity of rectified image pairs; nothing is here yet."""
