"""What goes on beside the answers?

``encoding`` runs networks for all; ``jobs`` start long ``work`` in processes of their own and
``events`` tell of it; ``watching`` follows the folders.
"""
