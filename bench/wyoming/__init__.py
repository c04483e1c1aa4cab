"""Home Assistant's port beside wyoming-faster-whisper: how soon a command is answered.

``python -m bench.wyoming FOLDER`` plays recordings of people, each once, as a
microphone would, and takes the time from the end of speech to the transcript.
"""
