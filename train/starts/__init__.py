"""How a training begins: from smaller networks, from others' weights, or with layers that have no effect yet."""
