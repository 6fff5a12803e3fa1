"""Durable state of the service: events, catalog, keys, interests and refresh jobs."""
