"""Comparing one vector with a million, exactly.

``index`` is what a search asks for; ``matrix`` is the mapped copy of a library's vectors, kept in
files by ``cabinet`` and ``segments``, scanned by ``sieve``; ``hnsw`` is a shortcut above a million.
"""
