"""Fine-tuning a small language model on a teacher's interest graphs."""
