# Read by fish when whisper-live is completed for the first time.
whisper-live completion fish | source
