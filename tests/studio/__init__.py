"""Tests of the page at `/`, in a browser."""
