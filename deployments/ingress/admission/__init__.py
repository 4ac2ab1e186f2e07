"""Turns and their bounds: who works next at a part of the server, and who is refused."""
