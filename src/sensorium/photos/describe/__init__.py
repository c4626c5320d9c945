"""What a photo tells: by its file, read without any network, and by its picture, in passes of their own.

``picture`` describes an open picture, ``video`` a film; ``facts`` is what comes out; ``moments`` reads times,
``xmp``, ``iptc`` and ``sidecars`` the places besides EXIF where programs write. ``passes`` lets the passes
(``text_in_images``, ``faces``, ``hashing``) look at every photo that is due, in the processes of ``looking``.
"""
