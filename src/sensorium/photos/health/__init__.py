"""Keeping a library safe: ``checks`` finds faults, ``mend`` and ``salvage`` repair them, ``upkeep`` is all
that people ask for: check, repair, backup, restore, going back to the model before.
"""
