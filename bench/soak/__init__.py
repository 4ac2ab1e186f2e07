"""Clients of all manners for minutes on end: well-behaved ones, and those that leave, crawl or stop listening."""
