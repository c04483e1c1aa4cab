"""Wyoming, the protocol of Home Assistant's voice assistants.

``events`` is the form in which everything travels, ``info`` what the server says of
itself, and ``server`` one utterance: which events an update becomes.  The names and
fields of events are those of the package ``wyoming``, which comes with the extra
[wyoming].
"""
