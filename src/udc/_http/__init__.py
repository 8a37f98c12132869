"""The HTTP client library, wrapped once: pools, limits, error mapping. Nothing else imports it."""

from udc._http.answer import HttpAnswer
from udc._http.client import HttpClient

__all__ = ["HttpAnswer", "HttpClient"]
