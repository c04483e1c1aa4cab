"""The port that Home Assistant connects to.

``listener`` binds it and lets clients in, ``link`` is one client's connection, on which
one utterance follows another, and ``early`` answers while the model is being loaded.
Sessions, places and metrics are the server's own.
"""
