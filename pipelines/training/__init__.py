"""The training of a run: steps and epochs, and what is saved and checked between them."""
