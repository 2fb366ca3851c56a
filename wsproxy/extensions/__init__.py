"""What travels inside frames, sans-I/O: header grammar, permessage-deflate's negotiation, engines and codec."""
