"""Which sample is taken?

The next token of a decoder: filters and draws (``pick``), beams, grammars (``constrain``), text that is shown
piece by piece (``text``), the loop that joins them (``generate``), a batch for several users (``batching``).
"""
