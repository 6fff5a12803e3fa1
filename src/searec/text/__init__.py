"""Words to vectors and, later, vectors to words."""
