"""One file a family of routes: each parses, calls one service and answers."""
