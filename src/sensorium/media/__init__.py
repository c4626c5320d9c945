"""What did the camera, the microphone, the text say?

Decoding, resizing, tokenizing; coordinates back to the original. NumPy arrays out, never a network,
never torch, so that a worker process that only decodes stays small.
"""
