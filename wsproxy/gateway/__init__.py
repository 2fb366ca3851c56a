"""Which route and which endpoint a request gets, and whether it may enter."""
