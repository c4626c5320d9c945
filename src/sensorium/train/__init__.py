"""How did it learn?

The one training loop, losses, optimizers, exact-resume checkpoints, data, and recipes/.
"""
