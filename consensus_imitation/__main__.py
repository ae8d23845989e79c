"""The command ``consensus-imitation``, also as ``python -m consensus_imitation``."""

import sys

from consensus_imitation.cli.interrupts import watch


def main() -> int:
    """Run the command; Ctrl-C ends it from its first moment, while it imports, too.

    Returns:
        The exit code.
    """
    interrupts = watch("consensus-imitation: interrupted before anything was begun")
    from consensus_imitation.cli import main as command

    return command.main(interrupts=interrupts)


if __name__ == "__main__":
    sys.exit(main())
