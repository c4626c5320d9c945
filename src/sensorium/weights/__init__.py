"""Where do the numbers come from?

Files, rules (rename, fuse, fold), strict load and save, the catalog of public checkpoints, and
maps/, one table of key names a family. Foreign names and repository ids stop here.
"""

CUT_MODEL = "sensorium/mini-sam"
"""What cuts things out of pictures unless another one is named: it ships in the package."""

ASK_MODEL = "sensorium/mini-vlm"
"""What answers questions about pictures unless another one is named: it ships in the package."""
