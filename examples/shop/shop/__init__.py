"""Small shop: order files, returns, a warehouse, and the assets made from them."""
