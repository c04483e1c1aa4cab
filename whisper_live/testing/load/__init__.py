"""A crowd of paced clients that measures any server of WhisperLive's protocol.

``material`` makes what they say, ``speaker`` is one of them, ``crowd`` runs many in
processes of their own.  Each writes one event log (``sessionlog``); every figure is
computed from the logs afterwards (``measure``, ``summary``), so that it can be
computed again.  ``search`` finds the largest crowd that a server carries.
"""
