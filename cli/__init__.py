"""The `atelier` command. It knows the settings and HTTP, and nothing of the models and deployments behind them."""
