"""What turns inputs into outputs; knows neither Ray nor HTTP."""
