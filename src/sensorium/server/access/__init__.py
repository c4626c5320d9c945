"""Who may come in, and how much may a visitor cost?

``security`` decides for every request; ``accounts`` keeps ``tokens``, sessions and shares; ``sessions`` and
``shares`` are their routes, ``shared_photos`` what a share shows. ``addresses`` reads hosts and names;
``limits`` and ``connections`` bound what a client may cost.
"""
