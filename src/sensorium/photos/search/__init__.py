"""From a query to a page of photos, in order, with reasons.

``answers`` is one search; ``filters`` are the facts that decide, ``words`` what the photo's own words say,
``ranking`` compares looks by ``calibration`` and ``arithmetic``, ``paging`` keeps pages in step.
"""
