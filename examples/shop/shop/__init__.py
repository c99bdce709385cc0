"""A small shop: its order files, its returns, the warehouse next door, and what is made of them."""
