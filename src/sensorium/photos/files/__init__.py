"""Which files are there, which belong together, and what has changed since the last look.

``scan`` walks a folder and compares it with what is known; ``stamps`` is what a file's size and times say,
``companions`` the files that belong to a photo, ``names`` paths as they are kept and as they are shown.
"""
