"""Where and how fast?

The one place that knows devices and dtypes, and the one function that makes a network fast on the
processor at hand.
"""
