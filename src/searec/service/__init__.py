"""The service: an engine that answers, the events it learns of, and the HTTP in front of both."""
