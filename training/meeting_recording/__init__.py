"""The demonstration recording: how it is made and how it is checked."""
