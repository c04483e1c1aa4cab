"""Rooms: how soon a line reaches thousands of readers, and what each of them costs.

``python -m bench.rooms --readers 2000`` starts a daemon, one speaker and, in a process
of their own, the readers.
"""
