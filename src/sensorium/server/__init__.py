"""How is it reached? The photo library over HTTP, for the page in ``web`` and for programs.

Behind it nothing is computed here: ``photos`` answers, in threads and in processes of their own; torch is
never imported.

- ``app`` puts everything together; ``running`` listens, ``settings`` says where
- ``security`` decides who may come in: ``addresses``, ``tokens``, ``sessions``, ``shares``; ``accounts``
  keeps them
- ``limits`` and ``connections`` bound what a client may cost; ``problems`` says what went wrong
- ``routes`` answer, with ``services`` behind them: ``encoding`` and ``decoders`` compute, ``jobs`` work for
  long, ``events`` tell of it
- ``thumbnails``, ``media`` and ``copies`` send pictures; ``pages`` sends the page
"""
