"""What is made from training events before a model learns, and carries the cut-off it was made at."""
