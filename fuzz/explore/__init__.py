"""Everything there is: all states that the variants reach together."""
