# Read by bash-completion when whisper-live is completed for the first time.
eval "$(whisper-live completion bash)"
