"""``whisper-live completion SHELL``: what a shell needs to complete commands."""

from __future__ import annotations

import argparse

import argcomplete
from argcomplete.shell_integration import shellcode

from whisper_live.config.model import Config

__all__ = ["answer", "run"]


def run(config: Config, arguments: argparse.Namespace) -> int:
    """Print the shell's code; 0."""
    print(shellcode(["whisper-live"], shell=arguments.shell))
    return 0


def answer(parser: argparse.ArgumentParser) -> None:
    """Tell the shell what could come next, and end; settings not in --help as well."""
    argcomplete.autocomplete(parser, print_suppressed=True)
