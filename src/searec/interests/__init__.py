"""User interests: profiles, the interest graph, the reasoners that infer it, and the interests of requests."""
