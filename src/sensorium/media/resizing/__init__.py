"""How a picture of any shape is shown to a network: pure arithmetic from its size, no pixels.

`policies` says what can be asked for, `planning.plan` answers with a `plan.ResizePlan`, `choosing.choose`
picks a policy by shape and token budget, and `sensorium.media.resized` carries a plan out. The processor
that writes the placeholders and whoever arranges the network's features read the same plan, so that their
counts cannot disagree.
"""
