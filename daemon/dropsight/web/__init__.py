"""The service as a browser, a script and Prometheus see it: dashboard, API, metrics, health."""
