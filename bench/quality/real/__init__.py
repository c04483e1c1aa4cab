"""Live text, whole-file reading and plain faster-whisper on recordings of people.

The package's command is described in ``__main__``.  ``recordings`` reads manifests,
``measure`` runs the readers, ``results`` keeps what they wrote, ``reader`` and
``scoring`` count, ``figures`` brings both together, ``report`` and ``plots`` show it.
"""
