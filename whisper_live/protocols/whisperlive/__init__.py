"""WhisperLive's wire: one JSON handshake, binary audio, JSON messages back.

``handshake`` reads a client's first message, ``messages`` knows what each message to a
client looks like, ``server`` decides which of them an update becomes, and ``client`` is
the other half: what a client says and how it reads a server.  Nothing outside this
package knows the wire's keys.
"""
