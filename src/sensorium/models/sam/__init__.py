"""Segment Anything: an image encoder that runs once, and a prompt encoder and mask decoder for each click.

"Segment Anything" (Kirillov et al. 2023, arXiv 2304.02643), one file for each box of its figure 4:
``image_encoder`` (or ``tiny_vit``, the light one of MobileSAM), ``prompt_encoder``, ``mask_decoder``; ``sam``
joins them.
"""
