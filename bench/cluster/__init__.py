"""Several Ray nodes on this machine, and what clients see of it when nodes come, go and die."""
