"""Requests that no client should send, by the hundred thousand: does the server keep its word on each?

Three kinds, each from a seed: what the OpenAPI description allows and forbids (`described`, by Schemathesis), valid
requests with a few things wrong in them (`bodies`), and bytes that are hardly HTTP (`sockets`). `verdict` says what
every answer must be.
"""
