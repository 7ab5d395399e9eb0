"""The command line: `python -m lwcallbacks view runs`. Starts without torch, and reads what runs have left on the disk.

A command is one file in `commands/`, named as the command, with its help in the module's docstring and two functions:

    def arguments(parser: argparse.ArgumentParser) -> None: ...     # what it takes
    def run(given: argparse.Namespace) -> int: ...                  # what it does; the exit code
"""

from lwcallbacks.cli.main import main as main
