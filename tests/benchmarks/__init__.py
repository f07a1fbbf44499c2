"""What the project promises in numbers, measured side by side with something else in one run."""
