"""The whole table in one command: every model tuned within one budget, trained with several seeds, measured and compared."""
