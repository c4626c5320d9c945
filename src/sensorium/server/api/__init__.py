"""What is said over the wire?

``requests`` come in, ``documents`` go out, ``rendering`` makes them of the library's objects, ``chips`` of a
parsed query; ``problems`` says what went wrong.
"""
