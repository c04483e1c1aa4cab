#!/bin/bash
# Synthesise what the browsers are to hear: three sentences with silence between them.
#
#   tests/browser/speech.sh OUT.wav
#
# 48 kHz mono, 8 s: the sentences start at 1.0, 3.6 and 5.8 s, so that the second one
# lies wholly inside the pause that record.mjs makes in one of its recordings.
# Needs espeak-ng and ffmpeg.
set -euo pipefail
out=$1
parts=$(mktemp -d)
trap 'rm -r "$parts"' EXIT

espeak-ng -v en-us -s 165 -w "$parts/1.wav" "turn on the kitchen light"
espeak-ng -v en-us -s 165 -w "$parts/2.wav" "open the door please"
espeak-ng -v en-us -s 165 -w "$parts/3.wav" "what time is it"
ffmpeg -loglevel error -y -i "$parts/1.wav" -i "$parts/2.wav" -i "$parts/3.wav" \
    -filter_complex "[0]aresample=48000,adelay=1000[a];
                     [1]aresample=48000,adelay=3600[b];
                     [2]aresample=48000,adelay=5800[c];
                     [a][b][c]amix=inputs=3:normalize=0,volume=0.7,
                     apad=whole_dur=8[out]" \
    -map "[out]" -ac 1 -c:a pcm_s16le "$out"
