"""The voice loop: a speaker's turn to a language model, its answer to a loudspeaker."""
