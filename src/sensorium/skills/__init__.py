"""What can it do?

One capability a module: a network, its preparation and its sampling behind one typed call.
"""
