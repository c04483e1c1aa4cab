"""The miniature Whisper that ships with the package: data, training, evaluation.

Nothing of the daemon imports this folder, and only this folder needs torch.
"""
