"""What the Makefile calls: `python -m cli.service install [--system]`, and so on."""

from cli.service.commands import app

if __name__ == "__main__":
    app()
