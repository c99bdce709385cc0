"""A small shop: its order files, the bucket they arrive in, and what is made of them."""
