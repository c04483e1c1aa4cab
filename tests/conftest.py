"""What holds for all tests."""

from __future__ import annotations

from hypothesis import settings

# A loaded machine makes any example slow; pytest's own timeout is the bound.
settings.register_profile("patient", deadline=None)
settings.load_profile("patient")
