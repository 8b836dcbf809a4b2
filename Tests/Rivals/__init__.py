"""EventStream beside what one could use instead: the same transactions, the same events, the same durability.

Run it with etc/bench rivals.
"""
