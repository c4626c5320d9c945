"""Qwen2.5-VL (Bai et al. 2025, arXiv 2502.13923): pictures and films at their own resolution.

``vision`` is the tower, ``qwen_vl`` the whole network and the positions of what it reads.
"""
