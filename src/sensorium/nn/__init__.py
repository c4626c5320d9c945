"""What do families share?

Attention (the one place that calls scaled-dot-product attention), positions, norms, MLPs, patching.
"""
