"""The one file that holds a library: its tables, its versions, and the transactions on it.

``schema`` and ``migrations`` are the file, ``store`` its reads and writes, ``records`` and ``annotations``
how photos get into it, ``locks`` keeps two indexers apart.
"""
