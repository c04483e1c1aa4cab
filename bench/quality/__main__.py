"""``python -m bench.quality`` runs ``synthetic``."""

from bench.quality.synthetic import main

main()
