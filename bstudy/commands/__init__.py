"""The commands, by topic; `bstudy/cli.py` lists them."""
