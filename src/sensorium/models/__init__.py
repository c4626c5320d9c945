"""What function is it?

One file a family, readable beside its paper: a frozen config dataclass and plain modules; tensors in,
tensors out. No files, no images, no text, no foreign key names.
"""
