"""Which photos are there twice: byte for byte, or the same picture in another size, quality or finish.

``hashing`` says in eight bytes what a picture looks like; ``near`` finds hashes that differ little without
comparing each with each; ``groups`` asks the library.
"""
