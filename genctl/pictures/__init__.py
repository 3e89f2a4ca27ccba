"""Files of pictures -> uint8 arrays, without torch: sources, decoding, fitting, the split by digest, the cache."""
