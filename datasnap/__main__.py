"""`python -m datasnap` is `datasnap`."""

from datasnap.cli import run

run()
