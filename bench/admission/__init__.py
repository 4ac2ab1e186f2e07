"""More than the server can take, all at once: what it lets in, what it refuses, and what it costs meanwhile."""
