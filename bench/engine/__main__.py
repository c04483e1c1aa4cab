"""``python -m bench.engine`` runs ``throughput``."""

from bench.engine.throughput import main

main()
