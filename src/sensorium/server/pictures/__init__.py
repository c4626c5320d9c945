"""How do pictures leave, and come in?

``thumbnails`` (the smallest made ``ahead``) and ``media`` send them, ``copies`` without anything but the
picture; ``decoders`` are the processes that do ``decoding`` and ``copying``; ``uploads`` are pictures to
search by. ``contents`` gives thumbnails their names.
"""
