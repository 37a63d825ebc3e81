"""`python -m bstudy`, if the command is not on the path."""

from bstudy.cli import main

main(prog_name="bstudy")
