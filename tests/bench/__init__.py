"""What the program costs, against the barest thing that does the same work, side by side in one run."""
