"""How photos are laid out and gathered: the grid, one photo's details, the map, albums, marks, export.

A photo that is gone or hidden appears in no list but its own ("hidden"); both come back as they were, because
marks and albums belong to the photo's row, which its content identifies wherever the file lies.
"""
