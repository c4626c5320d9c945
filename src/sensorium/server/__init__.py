"""How is it reached? The photo library over HTTP, for the page in ``web`` and for programs.

Behind it nothing is computed here: ``photos`` answers, in threads and in processes of their own; torch is
never imported.

- ``app`` puts everything together; ``running`` listens, ``settings`` says where; ``pages`` sends the page
- ``access`` decides who may come in; ``api`` is what is said: requests, documents, problems
- ``routes`` answer, with ``services`` behind them; ``memory`` and ``preferences`` remember
- ``tasks`` go on beside the answers; ``pictures`` sends them
"""
