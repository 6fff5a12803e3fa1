"""From a request to an explained list: retrieve, fuse, rank, diversify, explain."""
