"""Writing what a response says: server-sent events, base64 inside JSON."""
