"""What a file says about itself, read without any network.

``picture`` describes an open picture; ``facts`` is what comes out; ``moments`` reads times, ``xmp``, ``iptc``
and ``sidecars`` the places besides EXIF where programs write.
"""
