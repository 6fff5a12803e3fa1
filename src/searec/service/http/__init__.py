"""The HTTP layer: application, server, and the schemas of requests and responses."""
