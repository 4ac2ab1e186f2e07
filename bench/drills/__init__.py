"""What clients see when a part of the server dies, or when disk, memory or file descriptors run out.

Each drill starts a server of its own, puts load on it (`load`), does one thing to it (`faults`), looks until all kinds
of requests are answered again, and then starts the server once more on the same home: all that was acknowledged must be
there.
"""
