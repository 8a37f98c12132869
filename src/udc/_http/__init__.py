"""The HTTP client library, wrapped once: pools, limits, error mapping. Nothing else imports it."""
