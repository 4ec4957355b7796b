"""`texthead`, `python -m texthead` and `torchrun -m texthead`."""

import sys


def main() -> int:
    """Run the command line and return its exit code; an interrupt while it is imported is one line too."""
    try:
        from texthead.cli import main as cli
    except KeyboardInterrupt:
        print("texthead: interrupted", file=sys.stderr)
        return 130
    return cli.main()


if __name__ == "__main__":
    sys.exit(main())
