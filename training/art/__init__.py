"""Free drawings of everyday things: the table of what they show, and how they get from packages into arrays."""
