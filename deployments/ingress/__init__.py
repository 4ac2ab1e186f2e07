"""The HTTP face: reads and checks requests, talks to models through deployment handles, writes responses."""
