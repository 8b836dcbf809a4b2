"""The consumers, each a process of its own and equally lean: python -m Rivals.consumers.NAME TALLY OPTIONS."""
